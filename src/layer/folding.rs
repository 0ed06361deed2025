//! Whether a tensor of three axes is the kernel of a 1-D convolution (out × in × k) or a stack of matrices.
//!
//! No file says so. The user may; else the name does, then its neighbors, the configuration, and at last the shape.

use std::collections::BTreeMap;

use globset::GlobSet;

use super::{Element, TensorInfo, bare};
use crate::error::quoted;

/// What a tensor of three axes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// A kernel: one matrix, out × (in · k).
    Kernel,
    /// A matrix for each step along its first axis.
    Stack,
}

/// What is known of them from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Folding {
    /// Names of tensors that the user calls kernels.
    pub kernels: GlobSet,
    /// Names of tensors that the user calls stacks.
    pub stacks: GlobSet,
    /// How many experts the configuration speaks of.
    pub experts: Option<usize>,
}

/// What each tensor of three axes was taken for.
#[derive(Debug, Clone, Default)]
pub struct Folds {
    of: BTreeMap<String, Fold>,
    /// Names that only a shape told, by what they were taken for.
    guessed: [Vec<String>; 2],
}

/// A last axis up to this is that of a kernel, unless something says otherwise.
const SHORT: usize = 16;

impl Folds {
    /// Decides for all of `tensors`.
    pub fn of(tensors: &[TensorInfo], folding: &Folding) -> Self {
        if !tensors.iter().any(|tensor| tensor.shape.len() == 3) {
            return Self::default();
        }
        let by_name: BTreeMap<&str, &TensorInfo> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut modules: BTreeMap<&str, Vec<&TensorInfo>> = BTreeMap::new();
        let is_weight = |tensor: &&TensorInfo| !matches!(tensor.element, Element::Other(_));
        let cubes = || tensors.iter().filter(is_weight).filter(|tensor| tensor.shape.len() == 3);
        cubes().for_each(|tensor| modules.entry(module(&tensor.name)).or_default().push(tensor));
        let mut folds = Self::default();
        for tensor in cubes() {
            let told = told(tensor, folding).or_else(|| {
                neighbors(tensor, &by_name).or_else(|| {
                    let own = &modules[module(&tensor.name)];
                    let is_stack = folding.experts == Some(tensor.shape[0])
                        || own.iter().any(|other| are_layers(&tensor.shape, &other.shape));
                    is_stack.then_some(Fold::Stack)
                })
            });
            let fold = told.unwrap_or_else(|| guess(tensor));
            // Short kernels are what they look like in nearly every model.
            if told.is_none() && !is_short(tensor) {
                folds.guessed[usize::from(fold == Fold::Stack)].push(bare(&tensor.name).to_owned());
            }
            folds.of.insert(tensor.name.to_string(), fold);
        }
        folds
    }

    /// What a tensor was taken for; one that is not known, by its name and shape alone.
    pub fn get(&self, tensor: &TensorInfo) -> Fold {
        let known = self.of.get(tensor.name.as_str()).copied();
        known.or_else(|| told(tensor, &Folding::default())).unwrap_or_else(|| guess(tensor))
    }

    /// What to tell about tensors that only their shape told.
    pub fn notes(&self) -> Vec<String> {
        let note = |names: &[String], [one, several]: [&str; 2], other: &str| {
            let (shown, more) = names.split_at(names.len().min(3));
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let taken = if names.len() == 1 {
                format!("was taken for {one}")
            } else {
                format!("were taken for {several}")
            };
            format!("{}{more} {taken}, by shape alone; `{other} GLOB` says otherwise", quoted(shown))
        };
        let kernel = ["the kernel of a convolution", "kernels of convolutions"];
        let stack = ["a stack of matrices", "stacks of matrices"];
        let [kernels, stacks] = &self.guessed;
        [(kernels, kernel, "--as-stack"), (stacks, stack, "--as-conv")]
            .into_iter()
            .filter(|(names, ..)| !names.is_empty())
            .map(|(names, words, other)| note(names, words, other))
            .collect()
    }

    /// The globs of `folding` that fit none of them, with the option they were given by.
    pub fn unmatched(&self, folding: &Folding) -> Option<&'static str> {
        let fits =
            |globs: &GlobSet| globs.is_empty() || self.of.keys().any(|name| globs.is_match(bare(name)));
        let options = [("--as-conv", &folding.kernels), ("--as-stack", &folding.stacks)];
        options.into_iter().find(|(_, globs)| !fits(globs)).map(|(option, _)| option)
    }
}

/// What the user or the name says, or a shape that leaves no doubt.
fn told(tensor: &TensorInfo, folding: &Folding) -> Option<Fold> {
    let name = bare(&tensor.name);
    if folding.kernels.is_match(name) {
        return Some(Fold::Kernel);
    }
    if folding.stacks.is_match(name) {
        return Some(Fold::Stack);
    }
    let name = tensor.name.to_ascii_lowercase();
    let of_experts = name.contains("expert") || name.contains("_exps");
    match tensor.shape[..] {
        _ if name.contains("conv") => Some(Fold::Kernel),
        _ if of_experts => Some(Fold::Stack),
        // A stack of single rows would be a matrix.
        [_, 1, _] => Some(Fold::Kernel),
        _ => None,
    }
}

/// Whether it has the last axis of a kernel.
fn is_short(tensor: &TensorInfo) -> bool {
    matches!(tensor.shape[..], [_, _, last] if last <= SHORT)
}

/// By its shape alone: no width of a model is odd, and most kernels are.
fn guess(tensor: &TensorInfo) -> Fold {
    let is_even = matches!(tensor.shape[..], [_, _, last] if last.is_multiple_of(2));
    if is_even && !is_short(tensor) { Fold::Stack } else { Fold::Kernel }
}

/// What lies beside it: a kernel has one bias, or one length, for each output; a stack has some for each matrix.
fn neighbors(tensor: &TensorInfo, by_name: &BTreeMap<&str, &TensorInfo>) -> Option<Fold> {
    let [first, second, _] = tensor.shape[..] else { return None };
    let ends = [".weight", ".weight_v", ".parametrizations.weight.original1"];
    // The weights of a model of one layer have no module's name before them.
    let dotted = format!(".{}", tensor.name);
    let stem = ends.iter().find_map(|end| dotted.strip_suffix(end)).unwrap_or(&dotted);
    let shape = |end: &str| by_name.get(&format!("{stem}{end}")[1..]).map(|tensor| &tensor.shape[..]);
    for bias in [".bias", "_bias"].iter().filter_map(|end| shape(end)) {
        match bias {
            [length] if *length == first || *length == second => return Some(Fold::Kernel),
            [count, _] if *count == first => return Some(Fold::Stack),
            _ => {}
        }
    }
    let lengths = [".weight_g", ".parametrizations.weight.original0"].iter().find_map(|end| shape(end));
    lengths.map(|_| Fold::Kernel)
}

/// Whether both shapes are stacks of as many matrices, of which one takes what the other gives.
fn are_layers(one: &[usize], other: &[usize]) -> bool {
    let ([a, b, c], [d, e, f]) = (one, other) else { return false };
    // Of short axes one may be the same by chance.
    let both = b == f && c == e;
    a == d && (b, c) != (e, f) && (both || [c, f].iter().all(|last| **last > SHORT) && (b == f || c == e))
}

/// The module that a tensor belongs to.
fn module(name: &str) -> &str {
    bare(name).rsplit_once('.').map_or("", |(module, _)| module)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Dtype;

    fn tensors(list: &[(&str, &[usize])]) -> Vec<TensorInfo> {
        let tensor = |(name, shape): &(&str, &[usize])| TensorInfo {
            name: (*name).into(),
            shape: shape.to_vec(),
            element: Element::Float(Dtype::F32),
            file: 0,
            offset: 0,
            bytes: Some(0),
        };
        list.iter().map(tensor).collect()
    }

    #[track_caller]
    fn check(list: &[(&str, &[usize])], folding: &Folding, expected: Fold, notes: usize) {
        let list = tensors(list);
        let folds = Folds::of(&list, folding);
        assert_eq!((folds.get(&list[0]), folds.notes().len()), (expected, notes), "{:?}", folds.notes());
    }

    #[test]
    fn names_neighbors_and_shapes_tell_kernels_from_stacks() {
        use Fold::{Kernel, Stack};
        let nothing = Folding::default();
        let check = |list: &[(&str, &[usize])], expected, notes| check(list, &nothing, expected, notes);
        check(&[("a.conv.weight", &[8, 4, 30])], Kernel, 0);
        check(&[("mlp.experts.up", &[8, 4, 3])], Stack, 0);
        check(&[("enc.weight", &[6, 4, 5])], Kernel, 0);
        check(
            &[
                ("parametrizations.weight.original1", &[8, 4, 40]),
                ("parametrizations.weight.original0", &[8, 1, 1]),
            ],
            Kernel,
            0,
        );
        // A short last axis tells nothing where something else does.
        check(&[("moe.w1", &[8, 64, 16]), ("moe.w2", &[8, 16, 64])], Stack, 0);
        check(&[("moe.w1", &[8, 64, 4]), ("moe.w1_bias", &[8, 64])], Stack, 0);
        check(&[("enc.weight", &[6, 4, 4])], Kernel, 0);
        check(&[("layers.0.weight", &[64, 3, 5]), ("layers.1.weight", &[64, 64, 3])], Kernel, 0);
        // A basis of Fourier's.
        check(&[("stft.forward_basis", &[514, 1, 512])], Kernel, 0);
        check(&[("sinc.weight", &[80, 40, 32]), ("sinc.bias", &[80])], Kernel, 0);
        check(&[("up.weight", &[80, 40, 32]), ("up.bias", &[40])], Kernel, 0);
        check(&[("a.weight_v", &[80, 40, 32]), ("a.weight_g", &[80, 1, 1])], Kernel, 0);
        check(&[("moe.w1", &[8, 64, 32]), ("moe.w1_bias", &[8, 64])], Stack, 0);
        check(&[("moe.w1", &[8, 64, 32]), ("moe.w2", &[8, 32, 64])], Stack, 0);
        check(&[("x.w1", &[8, 64, 32]), ("y.w2", &[8, 32, 64])], Stack, 1);
        check(&[("filters.weight", &[80, 40, 39])], Kernel, 1);
        check(&[("filters.weight", &[80, 40, 40])], Stack, 1);
    }

    #[test]
    fn the_user_and_the_configuration_are_heard() {
        let globs = |glob: &str| {
            globset::GlobSetBuilder::new()
                .add(globset::Glob::new(glob).expect("a glob"))
                .build()
                .expect("one")
        };
        let filters: &[(&str, &[usize])] = &[("filters.weight", &[80, 40, 40])];
        let kernels = Folding { kernels: globs("filt*"), ..Folding::default() };
        check(filters, &kernels, Fold::Kernel, 0);
        let odd: &[(&str, &[usize])] = &[("a.conv.weight", &[80, 40, 39])];
        check(odd, &Folding { stacks: globs("a.*"), ..Folding::default() }, Fold::Stack, 0);
        check(filters, &Folding { experts: Some(80), ..Folding::default() }, Fold::Stack, 0);
        let short: &[(&str, &[usize])] = &[("moe.w1", &[80, 40, 8])];
        check(short, &Folding { experts: Some(80), ..Folding::default() }, Fold::Stack, 0);
        let folds = Folds::of(&tensors(odd), &kernels);
        assert_eq!(
            (folds.unmatched(&kernels), folds.unmatched(&Folding::default())),
            (Some("--as-conv"), None)
        );
    }
}
