//! Interprets the objects of a PyTorch pickle: the model's dictionary and its tensors.
//!
//! Knows names and shapes as the pickle claims them; whether the bytes are there is checked by `torch`.

use std::collections::BTreeSet;

use candle_core::pickle::Object;

use super::strides::{Order, is_countable, order, span};
use crate::error::{brief, quoted};
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
    /// The archive's entry that holds its bytes.
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

/// The contents of a file.
pub(crate) struct Model {
    /// The tensors of the model, in the pickle's order, and those beside it.
    pub(crate) tensors: Vec<StoredTensor>,
    /// Other dictionaries beside the model that hold tensors, by their keys.
    pub(crate) others: Vec<String>,
}

/// Keys under which training scripts put the model, in the order they are tried.
const KEYS: &[&str] =
    &["state_dict", "model_state_dict", "model_state", "model", "module", "ema", "params_ema"];

/// Keys that mean the model only where no other dictionary holds tensors: of a generator and its critic both are models.
const ALONE: &[&str] = &["params", "net", "generator"];

/// How many of them may lie inside each other.
const LEVELS: usize = 3;

/// The model in `object`.
pub(crate) fn model(object: Object) -> Result<Model, String> {
    let mut outside = Outside::default();
    let model = dictionary(object, LEVELS, &mut outside)?;
    let mut seen = BTreeSet::new();
    let mut tensors = vec![];
    let inside = model.into_iter().map(|pair| (pair, None));
    let beside = outside.tensors.into_iter().map(|(pair, model)| (pair, Some(model)));
    for ((key, value), model) in inside.chain(beside) {
        let Some(name) = text(&key) else { continue };
        let mut found = vec![];
        match value {
            Object::List(objects) | Object::Tuple(objects) => {
                objects
                    .into_iter()
                    .enumerate()
                    .for_each(|(i, object)| within(format!("{name}[{i}]"), object, &mut found));
            }
            Object::Dict(_) | Object::Build { .. } if holds_tensors(&value) => {
                outside.dictionaries.push(name.clone());
            }
            value => found.extend(tensor(&name, value)),
        }
        for tensor in found {
            let mut tensor = tensor.map_err(|reason| format!("tensor `{}`: {reason}", brief(&name)))?;
            if let (Some(model), Element::Float(_)) = (model, &tensor.element) {
                // Of no type that is measured, so that it is listed and no more.
                tensor.element = Element::Other(tensor.element.name().to_owned());
                tensor.refused = Some(format!("beside `{model}`, so no part of the model"));
            }
            if !seen.insert(tensor.name.clone()) {
                return Err(format!("tensor `{}` appears twice", brief(&tensor.name)));
            }
            tensors.push(tensor);
        }
    }
    Ok(Model { tensors, others: outside.dictionaries })
}

type Pairs = Vec<(Object, Object)>;

/// Objects beside the model.
#[derive(Default)]
struct Outside {
    /// Tensors, each with the key under which the model is.
    tensors: Vec<((Object, Object), &'static str)>,
    /// Keys of dictionaries with tensors somewhere in them.
    dictionaries: Vec<String>,
}

/// The dictionary of tensors: `object` itself, or its entry under one of `KEYS`.
fn dictionary(object: Object, levels: usize, outside: &mut Outside) -> Result<Pairs, String> {
    let pairs = match object {
        Object::Dict(pairs) => pairs,
        Object::Reduce { callable, .. } | Object::Build { callable, .. } => {
            let class = class(&callable).map_or_else(String::new, |class| format!(" ({})", brief(&class)));
            return Err(format!(
                "holds a Python object{class}, not tensors by name; save `model.state_dict()`"
            ));
        }
        _ => return Err("holds no tensors by name; save `model.state_dict()`".to_owned()),
    };
    let called = |name: &Object, key: &str| matches!(name, Object::Unicode(name) if name == key);
    let filled = |(_, value): &&(Object, Object)| is_dictionary(value) && holds_tensors(value);
    let is_alone = pairs.iter().filter(filled).count() == 1;
    let keys = KEYS.iter().chain(if is_alone { ALONE } else { &[] });
    let here = |key: &&&str| pairs.iter().filter(filled).any(|(name, _)| called(name, key));
    let wanted = if levels > 0 { keys.into_iter().find(here) } else { None };
    let Some(wanted) = wanted else {
        let inside = |value: &Object| !is_dictionary(value) && holds_tensors(value);
        if pairs.iter().any(|(_, value)| inside(value)) {
            return Ok(pairs);
        }
        let names = pairs.iter().filter(|(_, value)| is_dictionary(value)).filter_map(|(key, _)| text(key));
        let names: Vec<String> = names.collect();
        return Err(match names[..] {
            [] => "holds no tensors".to_owned(),
            _ => format!(
                "holds no tensors by name, but {}; save the one you want with `torch.save`",
                quoted(&names)
            ),
        });
    };
    let mut inner = None;
    for (key, value) in pairs {
        if called(&key, wanted) {
            inner = Some(value);
        } else if is_tensor(&value) {
            outside.tensors.push(((key, value), wanted));
        } else if holds_tensors(&value) {
            outside.dictionaries.extend(text(&key));
        }
    }
    inner.map_or_else(|| Err("holds no tensors".to_owned()), |inner| dictionary(inner, levels - 1, outside))
}

/// What a key of a dictionary is called.
fn text(object: &Object) -> Option<String> {
    match object {
        Object::Unicode(text) => Some(text.clone()),
        Object::Int(number) => Some(number.to_string()),
        Object::Long(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The tensors of `object`, which lies in a list or tuple: they have no name but their place, and no type that is measured.
fn within(place: String, object: Object, found: &mut Vec<Result<StoredTensor, String>>) {
    match object {
        Object::List(objects) | Object::Tuple(objects) => {
            objects
                .into_iter()
                .enumerate()
                .for_each(|(i, object)| within(format!("{place}[{i}]"), object, found));
        }
        Object::Dict(pairs) => pairs.into_iter().for_each(|(key, object)| {
            within(format!("{place}.{}", text(&key).unwrap_or_default()), object, found);
        }),
        Object::Build { callable, args } => {
            within(place.clone(), *callable, found);
            within(place, *args, found);
        }
        object => {
            let Some(tensor) = tensor(&place, object) else { return };
            found.push(tensor.map(|tensor| StoredTensor {
                element: Element::Other(tensor.element.name().to_owned()),
                storage: None,
                order: Order::Rows,
                refused: Some(tensor.refused.unwrap_or_else(|| {
                    "inside a tuple or list, where nothing says what it is; save it as a tensor of its own".to_owned()
                })),
                ..tensor
            }));
        }
    }
}

fn is_dictionary(object: &Object) -> bool {
    matches!(object, Object::Dict(_) | Object::Build { .. })
}

/// Whether there is a tensor anywhere in `object`; the pickle's guard bounds how deep that may be.
fn holds_tensors(object: &Object) -> bool {
    match object {
        Object::Dict(pairs) => pairs.iter().any(|(_, value)| holds_tensors(value)),
        Object::List(objects) | Object::Tuple(objects) => objects.iter().any(holds_tensors),
        Object::Build { callable, args } => holds_tensors(callable) || holds_tensors(args),
        other => is_tensor(other),
    }
}

/// Module and name of the class at the root of `object`.
fn class(object: &Object) -> Option<String> {
    match object {
        Object::Class { module_name, class_name } => Some(format!("{module_name}.{class_name}")),
        Object::Reduce { callable, .. } | Object::Build { callable, .. } => class(callable),
        _ => None,
    }
}

/// Whether `object` is a call that makes a tensor.
fn is_tensor(object: &Object) -> bool {
    matches!(object, Object::Reduce { .. })
        && class(object).is_some_and(|class| {
            class.starts_with("torch._utils._rebuild_") || class == "torch._tensor._rebuild_from_type_v2"
        })
}

/// The tensor that `object` describes, if it does.
fn tensor(name: &str, object: Object) -> Option<Result<StoredTensor, String>> {
    if !is_tensor(&object) {
        return None;
    }
    let maker = class(&object)?;
    let Object::Reduce { args, .. } = object else { return None };
    let malformed = || Err("its description is malformed".to_owned());
    let Object::Tuple(arguments) = *args else { return Some(malformed()) };
    let maker = maker.rsplit('.').next().unwrap_or_default();
    match maker {
        "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3" => Some(plain(name, &arguments)),
        // A parameter wraps a tensor; a subclass names the call that makes it, then its arguments.
        "_rebuild_parameter" | "_rebuild_parameter_with_state" => {
            let inner = arguments.into_iter().next().and_then(|inner| tensor(name, inner));
            Some(inner.unwrap_or_else(malformed))
        }
        "_rebuild_from_type_v2" => {
            let mut arguments = arguments.into_iter();
            let inner = arguments.next().zip(arguments.nth(1)).and_then(|(callable, args)| {
                tensor(name, Object::Reduce { callable: Box::new(callable), args: Box::new(args) })
            });
            Some(inner.unwrap_or_else(malformed))
        }
        other => {
            let kind = brief(other.trim_start_matches("_rebuild_"));
            Some(Ok(StoredTensor {
                name: name.to_owned(),
                shape: vec![],
                element: Element::Other(kind.clone()),
                storage: None,
                start: 0,
                order: Order::Rows,
                span: Some(0),
                refused: Some(format!(
                    "a tensor of the kind `{kind}` (quantized, sparse, or spread over machines); \
                     save it as a dense one"
                )),
            }))
        }
    }
}

/// A dense tensor: storage, start, shape, strides, …, and for newer types the element type.
fn plain(name: &str, arguments: &[Object]) -> Result<StoredTensor, String> {
    let [storage, start, shape, strides, rest @ ..] = arguments else {
        return Err("its description is malformed".to_owned());
    };
    let Object::PersistentLoad(storage) = storage else { return Err("it names no storage".to_owned()) };
    let Object::Tuple(storage) = &**storage else { return Err("its storage is malformed".to_owned()) };
    let [_, Object::Class { class_name, .. }, Object::Unicode(key), ..] = &storage[..] else {
        return Err("its storage is malformed".to_owned());
    };
    let newer = rest.iter().find_map(|object| match object {
        Object::Class { module_name, class_name } if module_name == "torch" => Some(class_name.as_str()),
        _ => None,
    });
    let (shape, strides) = (numbers(shape)?, numbers(strides)?);
    if shape.len() != strides.len() {
        return Err("its shape and strides differ in length".to_owned());
    }
    let shape: Vec<usize> = shape
        .into_iter()
        .map(|axis| usize::try_from(axis).map_err(|_| "its shape is too large".to_owned()))
        .collect::<Result<_, _>>()?;
    if !is_countable(&shape) {
        return Err("its shape is too large".to_owned());
    }
    Ok(StoredTensor {
        name: name.to_owned(),
        element: element(newer.unwrap_or(class_name)),
        storage: Some(key.clone()),
        start: number(start)?,
        order: order(&shape, &strides),
        span: span(&shape, &strides),
        refused: None,
        shape,
    })
}

fn number(object: &Object) -> Result<u64, String> {
    let value = match object {
        Object::Int(n) => i64::from(*n),
        Object::Long(n) => *n,
        _ => return Err("a number of its description is none".to_owned()),
    };
    u64::try_from(value).map_err(|_| "a number of its description is negative".to_owned())
}

fn numbers(object: &Object) -> Result<Vec<u64>, String> {
    match object {
        Object::Tuple(axes) => axes.iter().map(number).collect(),
        _ => Err("its shape is malformed".to_owned()),
    }
}

/// The element type of a storage class (`FloatStorage`) or of a dtype (`float8_e4m3fn`).
fn element(name: &str) -> Element {
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

#[cfg(test)]
mod tests;
