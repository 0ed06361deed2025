//! Pickles of every make are understood or refused, and no tensor in them is lost.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// Pieces that pickles of tensors are made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed: Vec<Vec<u8>> = [
        &b"("[..],
        b")",
        b"]",
        b"}",
        b"N",
        b"\x88",
        b"t",
        b"Q",
        b"R",
        b"b",
        b"s",
        b"u",
        b"a",
        b"e",
        b"\x81",
        b"\x85",
        b"\x86",
        b"\x87",
        b"q\0",
        b"h\0",
        b"q\x01",
        b"h\x01",
        b"K\x02",
        b"J\xff\xff\xff\x7f",
        b"J\0\0\0\x80",
        b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"X\x01\0\0\0a",
        b"X\x05\0\0\0model",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch._tensor\n_rebuild_from_type_v2\n",
        b"ccollections\nOrderedDict\n)R",
        // The start of a tensor's arguments: its storage and its first entry.
        b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQK\0",
        b"K\x02K\x03\x86K\x03K\x01\x86\x89}tR",
    ]
    .iter()
    .map(|piece| piece.to_vec())
    .collect();
    prop_oneof![30 => prop::sample::select(fixed), 1 => prop::collection::vec(any::<u8>(), 1..4)]
}

/// A tensor of 2 × 3 floats.
const TENSOR: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQK\0K\x02K\x03\x86K\x03K\x01\x86\x89}tR";

fn parsed(bytes: &[u8]) -> Result<Model, String> {
    model(&Pickle::read(&mut &*bytes)?)
}

/// A pickle of a dictionary with these contents.
fn pickled(pairs: &[(&[u8], Vec<u8>)]) -> Result<Model, String> {
    let pairs: Vec<u8> = pairs.iter().flat_map(|(key, value)| [key, &value[..]].concat()).collect();
    parsed(&[&b"\x80\x02}("[..], &pairs, b"u."].concat())
}

#[test]
fn tensors_in_tuples_and_lists_are_listed_by_their_place() {
    let packed = [b"(", TENSOR, b"N(", TENSOR, b"tt"].concat();
    let found = pickled(&[(b"X\x01\0\0\0a", packed), (b"K\x05", TENSOR.to_vec())]).expect("a model");
    let told: Vec<_> = found
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.clone(), tensor.refused.is_some()))
        .collect();
    let shape = vec![2, 3];
    assert_eq!(told, [("a[0]", shape.clone(), true), ("a[2][0]", shape.clone(), true), ("5", shape, false)]);
    assert!(found.tensors[..2].iter().all(|tensor| matches!(tensor.element, Element::Other(_))));
}

#[test]
fn a_dictionary_among_tensors_is_told_of() {
    let inner = [b"}X\x01\0\0\0w", TENSOR, b"s"].concat();
    let found = pickled(&[(b"X\x01\0\0\0a", TENSOR.to_vec()), (b"X\x01\0\0\0b", inner)]).expect("a model");
    assert_eq!((found.tensors.len(), &found.others[..]), (1, &["b".to_owned()][..]));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_pickle_is_understood_or_refused(pieces in prop::collection::vec(piece(), 0..60)) {
        let bytes = [&b"\x80\x02}("[..], &pieces.concat(), b"u."].concat();
        let _ = parsed(&bytes);
    }
}

#[test]
fn a_lone_dictionary_of_a_usual_name_is_the_model() {
    let inner = [b"}X\x01\0\0\0w", TENSOR, b"s"].concat();
    let named = |key: &str| [&b"X"[..], &(key.len() as u32).to_le_bytes(), key.as_bytes()].concat();
    for key in ["model_state", "params_ema", "net", "generator"] {
        let found = pickled(&[(&named(key), inner.clone())]).expect("a model");
        assert_eq!(found.tensors[0].name, "w", "{key}");
    }
    assert!(pickled(&[(&named("generator"), inner.clone()), (&named("critic"), inner)]).is_err());
}

#[test]
fn ordered_dictionaries_of_python_2_are_read() {
    let pair = [b"](U\x01a", TENSOR, b"e"].concat();
    let found = parsed(&[b"\x80\x02ccollections\nOrderedDict\n](", &pair[..], b"e\x85R."].concat());
    assert_eq!(found.expect("a model").tensors[0].name, "a");
}

#[test]
fn a_dictionary_that_is_filled_after_it_was_remembered_is_whole_wherever_it_is_recalled() {
    // {'model': d, 'ema': d}, where d is remembered empty.
    let inner = [b"}q\x07X\x01\0\0\0w", TENSOR, b"s"].concat();
    let found = pickled(&[(b"X\x05\0\0\0model", inner), (b"X\x03\0\0\0ema", b"h\x07".to_vec())]);
    let found = found.expect("a model");
    assert_eq!((found.tensors.len(), &found.others[..]), (1, &["ema".to_owned()][..]));
}

#[test]
fn pickles_that_hold_themselves_or_copy_themselves_are_bounded() {
    // A dictionary whose entries are its own, again and again.
    let doubled = [&b"\x80\x02}q\0X\x01\0\0\0a"[..], TENSOR, b"s", &b"h\0b".repeat(64), b"."].concat();
    assert!(parsed(&doubled).is_err_and(|reason| reason.contains("unfold")));
    // A list that is in itself, beside a tensor.
    let itself = [&b"]q\0("[..], TENSOR, b"h\0e"].concat();
    assert!(pickled(&[(b"X\x01\0\0\0a", itself)]).is_err_and(|reason| reason.contains("unfold")));
}

#[test]
fn arrays_and_objects_among_tensors_are_listed_with_their_places() {
    let array = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85X\x01\0\0\0b\x87R(K\x01K\x04K\x02\x86N\x89Ntb";
    // What a quantized recurrent layer keeps its weights in: an object with two tensors in its state.
    let object = [&b"ctorch.classes.rnn\nCellParamsBase\n)R("[..], TENSOR, TENSOR, b"tb"].concat();
    let found = pickled(&[
        (b"X\x01\0\0\0w", TENSOR.to_vec()),
        (b"X\x01\0\0\0a", array.to_vec()),
        (b"X\x01\0\0\0p", object),
    ]);
    let found = found.expect("a model");
    let listed: Vec<_> =
        found.tensors.iter().map(|of| (of.name.as_str(), &of.shape[..], of.refused.is_some())).collect();
    let expected: [(&str, &[usize], bool); 4] =
        [("w", &[2, 3], false), ("a", &[4, 2], true), ("p[0]", &[2, 3], true), ("p[1]", &[2, 3], true)];
    assert_eq!(listed, expected);
    assert!(found.others.is_empty(), "{:?}", found.others);
}

#[test]
fn views_with_other_signs_than_are_stored_are_refused() {
    let turned = [&TENSOR[..TENSOR.len() - 2], &b"}X\x03\0\0\0neg\x88stR"[..]].concat();
    let found = pickled(&[(b"X\x01\0\0\0w", turned)]).expect("a model");
    let reason = found.tensors[0].refused.as_deref().unwrap_or_default();
    assert!(reason.contains("`.resolve_neg()`"), "{reason}");
}
