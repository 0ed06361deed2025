//! A permutation for other tools, and a copy of the second model in the order of the first.

use std::path::Path;

use serde_json::{Value, json};

use super::{Permutation, Permuting};
use crate::analysis::permute::lines_of;
use crate::analysis::units::{Axis, Member, UnitGroup, UnitTensor};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::writing::CheckpointCopy;

impl Permuting {
    /// Whether a copy of the second model, which lies at `from`, can be written.
    ///
    /// # Errors
    /// When a tensor with units is not stored as floats, or `out` cannot be made.
    pub fn check_copy(&self, from: &Path, out: &Path) -> Result<(), Error> {
        let source = &self.pair.models[1].source;
        let mut matrices = self.pair.tensors[1].iter().filter(|tensor| !tensor.is_vector);
        matrices.try_for_each(|tensor| CheckpointCopy::check_layer(from, source, &tensor.layer))?;
        CheckpointCopy::check_files(from, source, out)
    }
}

impl Permutation {
    /// The orders of all groups that have one: `order[i]` is the unit of the second model that takes the place of unit `i`.
    pub fn json(&self) -> Value {
        let groups = self.pair.units.groups.iter().zip(&self.orders);
        let groups = groups.filter_map(|(group, order)| Some((group, order.as_ref()?)));
        let group = |(group, order): (&UnitGroup, &crate::analysis::permute::Order)| {
            let tensor = |member: &Member| {
                let axis = u8::from(member.side == Axis::Columns);
                let name = self.pair.tensors[1][member.tensor].layer.tensor.as_str();
                let span = member.span;
                json!({"tensor": name, "axis": axis, "first": span.first, "period": span.period, "count": span.count})
            };
            let tensors = |members: &[Member]| members.iter().map(tensor).collect::<Vec<_>>();
            let mut value = json!({
                "name": group.name,
                "kind": group.kind.name(),
                "order": order.units,
                "tensors": tensors(&group.members),
            });
            if let (Some(queries), Some(order)) = (&group.queries, &order.queries) {
                value["query_order"] = json!(order);
                value["query_tensors"] = json!(tensors(&queries.members));
            }
            value
        };
        let [base, tuned] = self.pair.roots();
        json!({
            "svdkit": env!("CARGO_PKG_VERSION"),
            "base": base,
            "permuted": tuned,
            "groups": groups.map(group).collect::<Vec<_>>(),
        })
    }

    /// Writes the second model, which lies at `from`, with its units in their matched places. Gives the names of files that
    /// were not copied, for they are links out of the model's folder.
    ///
    /// # Errors
    /// When something cannot be read or written, or the order of a group is not known.
    pub fn write_copy(&self, from: &Path, out: &Path) -> Result<Vec<String>, Error> {
        let source = &self.pair.models[1].source;
        let groups: Vec<&UnitGroup> = self.pair.units.groups.iter().collect();
        let known: Vec<_> = self.orders.iter().flatten().cloned().collect();
        if let Some(at) = self.orders.iter().position(Option::is_none) {
            let name = &groups[at].name;
            let reason = format!("no copy is written, for the order of the units of `{name}` is not known");
            return Err(Error::malformed(out, reason));
        }
        let lines = |tensor: usize, axis: Axis| {
            let layer = &self.pair.tensors[1][tensor].layer;
            lines_of((tensor, axis, axis.length((layer.rows, layer.cols))), &groups, &known)
        };
        let mut moved = vec![];
        for (at, tensor) in self.pair.tensors[1].iter().enumerate() {
            let (rows, columns) = (lines(at, Axis::Rows), lines(at, Axis::Columns));
            if rows.is_some() || columns.is_some() {
                moved.push((tensor, rows, columns));
            }
        }
        let later: Vec<_> = moved.iter().map(|(tensor, ..)| tensor.layer.as_ref()).collect();
        let copy = CheckpointCopy::without(from, source, out, &later)?;
        for (tensor, rows, columns) in &moved {
            let placed = placed(&tensor.read(source)?, tensor, rows.as_deref(), columns.as_deref())?;
            copy.rows(&tensor.layer)?.write(&placed)?;
        }
        let left_out = copy.left_out().to_vec();
        copy.finish()?;
        Ok(left_out)
    }
}

/// The same entries in other places, bit by bit.
fn placed(
    matrix: &Matrix,
    tensor: &UnitTensor,
    rows: Option<&[u32]>,
    columns: Option<&[u32]>,
) -> Result<Matrix, Error> {
    let (width, size) = (matrix.cols(), tensor.layer.read_as.size());
    let mut bytes = Vec::with_capacity(matrix.bytes().len());
    for i in 0..matrix.rows() {
        let from = rows.map_or(i, |rows| rows[i] as usize) * width * size;
        let row = &matrix.bytes()[from..from + width * size];
        match columns {
            None => bytes.extend_from_slice(row),
            Some(columns) => {
                let entry = |j: &u32| &row[*j as usize * size..(*j as usize + 1) * size];
                columns.iter().for_each(|j| bytes.extend_from_slice(entry(j)));
            }
        }
    }
    Matrix::new(matrix.rows(), width, matrix.dtype(), bytes)
}
