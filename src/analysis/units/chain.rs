//! The hidden neurons of a plain chain of linear layers, each of which reads what the one before computes.

use super::{Axis, Member, Roles, Search, Span, UnitGroup, UnitKind};
use crate::error::brief;
use crate::layer::natural;

impl Search<'_> {
    /// Adds the neurons between all matrices, if they are one chain and every vector is a bias of one.
    pub(super) fn chain(&mut self) {
        let mut names: Vec<String> = self.matrices.values().cloned().collect();
        names.sort_by(|a, b| natural(a, b));
        let shape = |name: &String| self.known.get(name).map_or((0, 0), |of| (of.layer.rows, of.layer.cols));
        let fits = |names: &[String]| names.windows(2).all(|pair| shape(&pair[0]).0 == shape(&pair[1]).1);
        if !fits(&names) {
            let order = |name: &String| self.known.get(name).map(|of| (of.layer.file, of.layer.offset));
            names.sort_by_key(order);
        }
        if names.len() < 2 || !fits(&names) {
            return;
        }
        let biases: Vec<Option<String>> = names
            .iter()
            .map(|name| biases(name).into_iter().find(|bias| self.vector(bias, shape(name).0).is_some()))
            .collect();
        let is_known =
            |name: &String| names.contains(name) || biases.iter().flatten().any(|bias| bias == name);
        let all = self.source.tensors().iter().map(|info| info.name.to_string());
        if let Some(stranger) = all.into_iter().find(|name| !is_known(name)) {
            self.notes.push(format!(
                "its matrices form a chain, but the role of `{}` is not known",
                brief(&stranger)
            ));
            return;
        }
        let counts: Vec<usize> = names.iter().map(|name| shape(name).0).collect();
        for (i, pair) in names.windows(2).enumerate() {
            let mut members: Vec<Member> = vec![];
            members.extend(self.member(&pair[0], Axis::Rows, Span::LINES));
            members.extend(self.member(&pair[1], Axis::Columns, Span::LINES));
            if let Some(bias) = &biases[i] {
                members.extend(self.member(bias, Axis::Rows, Span::LINES));
            }
            let name = pair[0].strip_suffix(".weight").unwrap_or(&pair[0]).to_owned();
            self.groups.push(UnitGroup {
                name,
                kind: UnitKind::Neurons,
                count: counts[i],
                members,
                roles: Roles { first: 0, value: None, reader: Some(1) },
                queries: None,
            });
        }
    }
}

/// What the bias of a matrix may be called: `fc.bias` of `fc.weight`, `b1` of `w1`.
fn biases(matrix: &str) -> Vec<String> {
    let (module, last) =
        matrix.rsplit_once('.').map_or((String::new(), matrix), |(a, b)| (format!("{a}."), b));
    let number = last.trim_start_matches(|c: char| !c.is_ascii_digit());
    let letter = &last[..last.len() - number.len()];
    let short = ["w", "W"].contains(&letter).then(|| {
        let bias = if letter == "w" { "b" } else { "B" };
        format!("{module}{bias}{number}")
    });
    let plain = (last == "weight").then(|| format!("{module}bias"));
    plain.into_iter().chain(short).chain([format!("{matrix}.bias")]).collect()
}
