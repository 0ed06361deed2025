//! Tensors and storages as the calls of a pickle describe them.

use crate::error::brief;
use crate::format::pickle::{Id, Object, Pickle};
use crate::format::strides::{Order, is_countable, order, span};
use crate::layer::Element;
use crate::matrix::Dtype;

/// A tensor as the pickle describes it.
pub(crate) struct StoredTensor {
    /// Its name in the dictionary.
    pub(crate) name: String,
    /// Its shape; empty where the kind of tensor is unknown.
    pub(crate) shape: Vec<usize>,
    /// Its element type.
    pub(crate) element: Element,
    /// The key of the storage that holds its bytes.
    pub(crate) storage: Option<String>,
    /// Entries of the storage before its first.
    pub(crate) start: u64,
    /// How its entries lie in the storage.
    pub(crate) order: Order,
    /// Entries from its first to behind its last, if that is a number of this machine.
    pub(crate) span: Option<u64>,
    /// Why it is not read, whatever it is.
    pub(crate) refused: Option<String>,
}

/// A run of entries beside a pickle, where tensors lie.
pub(crate) struct Storage<'p> {
    pub(crate) key: &'p str,
    /// The class that says what its entries are.
    pub(crate) class: &'p str,
    /// Entries of the storage before its own: it may be a part of another.
    pub(crate) start: u64,
}

/// Objects nested deeper are hostile: a tensor in a nested state dict needs about a dozen levels.
pub(super) const DEEPEST: usize = 100;

/// The most axes that PyTorch has.
const MOST_AXES: usize = 64;

/// Every storage that the pickle names, used or not.
pub(crate) fn storages(pickle: &Pickle) -> impl Iterator<Item = Result<Storage<'_>, String>> {
    // Files of whole modules keep their source in the same way.
    let is_storage = |id: Id| match pickle.get(id) {
        Object::Tuple(parts) => parts
            .first()
            .is_some_and(|kind| matches!(pickle.get(*kind), Object::Text(kind) if kind == "storage")),
        _ => false,
    };
    let named = move |object: &Object| match object {
        Object::Stored(id) if is_storage(*id) => Some(storage(pickle, *id)),
        _ => None,
    };
    pickle.objects().iter().filter_map(named)
}

/// The storage that `id` names: `("storage", its class, its key, its place, its entries)`; in files from before version
/// 1.6 also which part of them, if it is a part.
fn storage(pickle: &Pickle, id: Id) -> Result<Storage<'_>, String> {
    let malformed = || "its storage is malformed".to_owned();
    let Object::Tuple(parts) = pickle.get(id) else { return Err(malformed()) };
    let [_, class, key, _, _, part @ ..] = &parts[..] else { return Err(malformed()) };
    let (Object::Class(class), Object::Text(key)) = (pickle.get(*class), pickle.get(*key)) else {
        return Err(malformed());
    };
    let start = match part.first().map(|part| pickle.get(*part)) {
        Some(Object::Tuple(part)) => match &part[..] {
            [_, start, ..] => number(pickle, *start)?,
            _ => return Err(malformed()),
        },
        _ => 0,
    };
    Ok(Storage { key, class: class.rsplit('.').next().unwrap_or_default(), start })
}

/// Module and name of the class at the root of an object.
pub(super) fn class(pickle: &Pickle, mut id: Id) -> Option<&str> {
    for _ in 0..DEEPEST {
        id = match pickle.get(id) {
            Object::Class(name) => return Some(name),
            Object::Call { callable, .. } => *callable,
            Object::Built { object, .. } => *object,
            // The class of a whole module, which is stored with its source.
            Object::Stored(id) => match pickle.get(*id) {
                Object::Tuple(parts) => *parts.get(1)?,
                _ => return None,
            },
            _ => return None,
        };
    }
    None
}

/// Whether an object is a call that makes a tensor.
pub(super) fn is_tensor(pickle: &Pickle, id: Id) -> bool {
    let class = |callable| class(pickle, callable).unwrap_or_default();
    matches!(pickle.get(id), Object::Call { callable, .. } if class(*callable).starts_with("torch._utils._rebuild_")
        || class(*callable) == "torch._tensor._rebuild_from_type_v2")
}

/// The NumPy array that an object is, if it is one; without a name.
pub(super) fn array(pickle: &Pickle, id: Id) -> Option<StoredTensor> {
    let Object::Built { state, .. } = pickle.get(id) else { return None };
    if !class(pickle, id)?.starts_with("numpy.") || !class(pickle, id)?.ends_with(".multiarray._reconstruct")
    {
        return None;
    }
    // A version, then the shape.
    let shape = match pickle.get(*state) {
        Object::Tuple(parts) => parts.get(1).and_then(|shape| axes(pickle, *shape).ok()),
        _ => None,
    };
    Some(StoredTensor {
        name: String::new(),
        shape: shape.unwrap_or_default(),
        element: Element::Other("numpy array".to_owned()),
        storage: None,
        start: 0,
        order: Order::Rows,
        span: Some(0),
        refused: Some("a NumPy array inside of the pickle; save it as a tensor".to_owned()),
    })
}

/// The tensor that `callable` makes of `args`.
pub(super) fn made(
    pickle: &Pickle,
    name: &str,
    (callable, args): (Id, Id),
    depth: usize,
) -> Result<StoredTensor, String> {
    let malformed = || Err("its description is malformed".to_owned());
    let Object::Tuple(arguments) = pickle.get(args) else { return malformed() };
    let maker = class(pickle, callable).and_then(|class| class.rsplit('.').next()).unwrap_or_default();
    match (maker, &arguments[..]) {
        _ if depth > DEEPEST => malformed(),
        ("_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3", arguments) => {
            plain(pickle, name, arguments)
        }
        // A parameter wraps a tensor; a subclass names the call that makes it, then its arguments.
        ("_rebuild_parameter" | "_rebuild_parameter_with_state", [inner, ..]) => match pickle.get(*inner) {
            Object::Call { callable, args } if is_tensor(pickle, *inner) => {
                made(pickle, name, (*callable, *args), depth + 1)
            }
            _ => malformed(),
        },
        ("_rebuild_from_type_v2", [callable, _, args, ..]) => {
            made(pickle, name, (*callable, *args), depth + 1)
        }
        ("_rebuild_parameter" | "_rebuild_parameter_with_state" | "_rebuild_from_type_v2", _) => malformed(),
        (other, arguments) => {
            let kind = brief(other.trim_start_matches("_rebuild_"));
            // A quantized tensor says its shape where others do.
            let stated = arguments.get(2).filter(|_| other == "_rebuild_qtensor");
            Ok(StoredTensor {
                name: name.to_owned(),
                shape: stated.map_or(Ok(vec![]), |id| axes(pickle, *id))?,
                element: Element::Other(kind.clone()),
                storage: None,
                start: 0,
                order: Order::Rows,
                span: Some(0),
                refused: Some(format!(
                    "a tensor of the kind `{kind}` (quantized, sparse, or spread over machines); \
                     save it as a dense one"
                )),
            })
        }
    }
}

/// A dense tensor: storage, start, shape, strides, …, and for newer types the element type.
fn plain(pickle: &Pickle, name: &str, arguments: &[Id]) -> Result<StoredTensor, String> {
    let [stored, start, shape, strides, rest @ ..] = arguments else {
        return Err("its description is malformed".to_owned());
    };
    let Object::Stored(stored) = pickle.get(*stored) else { return Err("it names no storage".to_owned()) };
    let stored = storage(pickle, *stored)?;
    let newer = rest.iter().find_map(|id| match pickle.get(*id) {
        Object::Class(class) => class.strip_prefix("torch.").filter(|name| !name.contains('.')),
        _ => None,
    });
    // What a view changes of the entries that are stored.
    let turned = rest.iter().find_map(|id| match pickle.get(*id) {
        Object::Dict(pairs) => pairs.iter().find_map(|(key, _)| match pickle.get(*key) {
            Object::Text(word) if word == "neg" || word == "conj" => Some(word.clone()),
            _ => None,
        }),
        _ => None,
    });
    let (shape, strides) = (axes(pickle, *shape)?, numbers(pickle, *strides)?);
    if shape.len() != strides.len() {
        return Err("its shape and strides differ in length".to_owned());
    }
    let start = number(pickle, *start)?.checked_add(stored.start);
    Ok(StoredTensor {
        name: name.to_owned(),
        element: match element(newer.unwrap_or(stored.class)) {
            Element::Float(dtype) if turned.is_some() => Element::Other(dtype.name().to_owned()),
            element => element,
        },
        storage: Some(stored.key.to_owned()),
        start: start.ok_or("its start is too large")?,
        order: order(&shape, &strides),
        span: span(&shape, &strides),
        refused: turned.map(|word| {
            format!("a view with other signs than are stored; save it after `.resolve_{word}()`")
        }),
        shape,
    })
}

fn axes(pickle: &Pickle, id: Id) -> Result<Vec<usize>, String> {
    let axes = numbers(pickle, id)?.into_iter().map(usize::try_from);
    let shape = axes.collect::<Result<Vec<_>, _>>().ok().filter(|shape| is_countable(shape));
    shape.ok_or_else(|| "its shape is too large".to_owned())
}

fn numbers(pickle: &Pickle, id: Id) -> Result<Vec<u64>, String> {
    match pickle.get(id) {
        Object::Tuple(axes) if axes.len() <= MOST_AXES => {
            axes.iter().map(|axis| number(pickle, *axis)).collect()
        }
        _ => Err("its shape is malformed".to_owned()),
    }
}

fn number(pickle: &Pickle, id: Id) -> Result<u64, String> {
    let Object::Number(value) = pickle.get(id) else {
        return Err("a number of its description is none".to_owned());
    };
    u64::try_from(*value).map_err(|_| "a number of its description is negative".to_owned())
}

/// The element type of a storage class (`FloatStorage`) or of a dtype (`float8_e4m3fn`).
pub(crate) fn element(name: &str) -> Element {
    let dtype = match name {
        "DoubleStorage" | "float64" => Dtype::F64,
        "FloatStorage" | "float32" => Dtype::F32,
        "HalfStorage" | "float16" => Dtype::F16,
        "BFloat16Storage" | "bfloat16" => Dtype::Bf16,
        "float8_e4m3fn" => Dtype::F8E4M3,
        "float8_e5m2" => Dtype::F8E5M2,
        "ByteStorage" => return Element::Other("u8".to_owned()),
        "CharStorage" => return Element::Other("i8".to_owned()),
        "ShortStorage" => return Element::Other("i16".to_owned()),
        "IntStorage" => return Element::Other("i32".to_owned()),
        "LongStorage" => return Element::Other("i64".to_owned()),
        other => {
            return Element::Other(brief(&other.trim_end_matches("Storage").to_lowercase()));
        }
    };
    Element::Float(dtype)
}
