//! Interprets the objects of a PyTorch pickle: the model's dictionary and its tensors.
//!
//! Knows names and shapes as the pickle claims them; whether the bytes are there is checked by `torch`.

mod described;

use std::collections::BTreeSet;

use super::pickle::{Id, Object, Pickle, UNFOLDS};
use super::strides::Order;
use crate::error::{brief, quoted};
use crate::layer::Element;
use described::{DEEPEST, array, class, is_tensor, made};
pub(crate) use described::{StoredTensor, element, storages};

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

/// The most objects that are looked into to list the tensors among them.
const MOST_LOOKS: usize = 1_000_000;

/// Why a tensor that lies in a tuple or list is not read.
const INSIDE: &str = "inside a tuple or list, where nothing says what it is; save it as a tensor of its own";

/// The model in `pickle`.
pub(crate) fn model(pickle: &Pickle) -> Result<Model, String> {
    let reader = Reader { pickle, filled: filled(pickle)? };
    let mut outside = Outside::default();
    let model = reader.dictionary(pickle.root(), LEVELS, &mut outside)?;
    let mut seen = BTreeSet::new();
    let (mut tensors, mut looks) = (vec![], 0);
    let inside = model.iter().map(|pair| (*pair, None));
    let beside = outside.tensors.into_iter().map(|(pair, model)| (pair, Some(model)));
    for ((key, value), model) in inside.chain(beside) {
        let array = array(pickle, value).filter(|_| model.is_none());
        let Some(name) = reader.text(key).filter(|_| array.is_some() || reader.holds_tensors(value)) else {
            continue;
        };
        let mut found = vec![];
        if let Some(array) = array {
            found.push(Ok(StoredTensor { name: name.clone(), ..array }));
        } else if let Some(tensor) = reader.tensor(&name, value) {
            found.push(tensor);
        } else if matches!(pickle.get(value), Object::Dict(_)) {
            outside.dictionaries.push(name.clone());
        } else {
            reader.within(&name, value, 0, &mut looks, &mut found)?;
        }
        for tensor in found {
            let mut tensor = tensor.map_err(|reason| format!("tensor `{}`: {reason}", brief(&name)))?;
            if tensor.name != name {
                // Parts of one object may go by one place.
                let place = tensor.name.clone();
                let mut numbered = (2..).map(|n| format!("{place}#{n}"));
                while seen.contains(&tensor.name) {
                    tensor.name = numbered.next().unwrap_or_default();
                }
            }
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

/// Objects beside the model.
#[derive(Default)]
struct Outside {
    /// Tensors, each with the key under which the model is.
    tensors: Vec<((Id, Id), &'static str)>,
    /// Keys of dictionaries with tensors somewhere in them.
    dictionaries: Vec<String>,
}

/// The objects of a pickle, and which of them hold tensors.
struct Reader<'p> {
    pickle: &'p Pickle,
    filled: Vec<bool>,
}

/// The objects that `object` is made of.
fn children(object: &Object) -> Vec<Id> {
    match object {
        Object::Tuple(items) | Object::List(items) => items.clone(),
        Object::Dict(pairs) => pairs.iter().map(|(_, value)| *value).collect(),
        Object::Call { callable, args } => vec![*callable, *args],
        Object::Built { object, state } => vec![*object, *state],
        Object::Class(_)
        | Object::Number(_)
        | Object::Text(_)
        | Object::Stored(_)
        | Object::False
        | Object::Other => vec![],
    }
}

/// The objects that are tensors or hold some, at any depth. Each is looked at once, even if it holds itself.
fn filled(pickle: &Pickle) -> Result<Vec<bool>, String> {
    let count = pickle.objects().len();
    let (mut filled, mut seen) = (vec![false; count], vec![false; count]);
    let mut path = vec![(pickle.root(), children(pickle.get(pickle.root())))];
    while let Some((id, rest)) = path.last_mut() {
        let id = *id;
        if is_tensor(pickle, id) {
            filled[id.index()] = true;
            rest.clear();
        }
        match rest.pop() {
            Some(child) if seen[child.index()] => filled[id.index()] |= filled[child.index()],
            Some(child) => {
                seen[child.index()] = true;
                path.push((child, children(pickle.get(child))));
            }
            None => {
                path.pop();
                if let Some((outer, _)) = path.last() {
                    filled[outer.index()] |= filled[id.index()];
                }
            }
        }
        if path.len() > DEEPEST {
            return Err(format!("the pickle nests more than {DEEPEST} deep; it is refused"));
        }
    }
    Ok(filled)
}

impl<'p> Reader<'p> {
    /// The dictionary of tensors: `id` itself, or its entry under one of `KEYS`.
    fn dictionary(&self, id: Id, levels: usize, outside: &mut Outside) -> Result<&'p [(Id, Id)], String> {
        let Object::Dict(pairs) = self.pickle.get(id) else {
            return Err(match class(self.pickle, id) {
                Some(class) => format!(
                    "holds a Python object ({}), not tensors by name; save `model.state_dict()`",
                    brief(class)
                ),
                None => "holds no tensors by name; save `model.state_dict()`".to_owned(),
            });
        };
        let called = |name: Id, key: &str| matches!(self.pickle.get(name), Object::Text(name) if name == key);
        let filled = |(_, value): &&(Id, Id)| self.is_dictionary(*value) && self.holds_tensors(*value);
        let is_alone = pairs.iter().filter(filled).count() == 1;
        let keys = KEYS.iter().chain(if is_alone { ALONE } else { &[] });
        let here = |key: &&&str| pairs.iter().filter(filled).any(|(name, _)| called(*name, key));
        let wanted = if levels > 0 { keys.into_iter().find(here) } else { None };
        let Some(wanted) = wanted else {
            if pairs.iter().any(|(_, value)| !self.is_dictionary(*value) && self.holds_tensors(*value)) {
                return Ok(pairs);
            }
            let names: Vec<String> =
                pairs.iter().filter(filled).filter_map(|(key, _)| self.text(*key)).collect();
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
            if called(*key, wanted) {
                inner = Some(*value);
            } else if self.is_tensor(*value) {
                outside.tensors.push(((*key, *value), *wanted));
            } else if self.holds_tensors(*value) {
                outside.dictionaries.extend(self.text(*key));
            }
        }
        inner.map_or_else(
            || Err("holds no tensors".to_owned()),
            |inner| self.dictionary(inner, levels - 1, outside),
        )
    }

    /// What a key of a dictionary is called.
    fn text(&self, key: Id) -> Option<String> {
        match self.pickle.get(key) {
            Object::Text(text) => Some(text.clone()),
            Object::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn is_tensor(&self, id: Id) -> bool {
        is_tensor(self.pickle, id)
    }

    fn is_dictionary(&self, id: Id) -> bool {
        matches!(self.pickle.get(id), Object::Dict(_))
            || matches!(self.pickle.get(id), Object::Built { .. }) && !self.is_tensor(id)
    }

    /// Whether there is a tensor anywhere in an object.
    fn holds_tensors(&self, id: Id) -> bool {
        self.filled[id.index()]
    }

    /// The tensors of an object that is none: they have no name but their place, and no type that is measured.
    fn within(
        &self,
        place: &str,
        id: Id,
        depth: usize,
        looks: &mut usize,
        found: &mut Vec<Result<StoredTensor, String>>,
    ) -> Result<(), String> {
        if !self.holds_tensors(id) {
            return Ok(());
        }
        // A nested tensor's name contains the key it is under, so a long key costs as much as many lookups.
        *looks += 1 + place.len() / 64;
        if depth > DEEPEST || *looks > MOST_LOOKS {
            return Err(UNFOLDS.to_owned());
        }
        if let Some(tensor) = self.tensor(place, id) {
            found.push(tensor.map(|tensor| StoredTensor {
                element: Element::Other(tensor.element.name().to_owned()),
                storage: None,
                order: Order::Rows,
                refused: Some(tensor.refused.unwrap_or_else(|| INSIDE.to_owned())),
                ..tensor
            }));
            return Ok(());
        }
        let mut inner = |place: &str, id: Id| self.within(place, id, depth + 1, looks, found);
        match self.pickle.get(id) {
            Object::Tuple(items) | Object::List(items) => {
                items.iter().enumerate().try_for_each(|(i, item)| inner(&format!("{place}[{i}]"), *item))
            }
            Object::Dict(pairs) => pairs.iter().try_for_each(|(key, value)| {
                inner(&format!("{place}.{}", self.text(*key).unwrap_or_default()), *value)
            }),
            other => children(other).into_iter().try_for_each(|child| inner(place, child)),
        }
    }

    /// The tensor that `id` describes, if it does.
    fn tensor(&self, name: &str, id: Id) -> Option<Result<StoredTensor, String>> {
        match self.pickle.get(id) {
            Object::Call { callable, args } if self.is_tensor(id) => {
                Some(made(self.pickle, name, (*callable, *args), 0))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
