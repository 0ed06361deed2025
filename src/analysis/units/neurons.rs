//! The hidden neurons of MLPs, gated or not.

use super::{Axis, Member, Roles, Search, Span, UnitGroup, UnitKind};
use crate::error::brief;

/// Where a kind of MLP keeps its neurons.
struct Mlp {
    /// Matrices that compute them.
    inputs: &'static [&'static str],
    /// The matrix that reads them.
    output: &'static str,
    /// Which input a gate multiplies, where there are two, or two halves of one.
    value: usize,
}

const fn mlp(inputs: &'static [&'static str], output: &'static str) -> Mlp {
    Mlp { inputs, output, value: 1 }
}

/// Names as models' published code has them.
const MLPS: [Mlp; 19] = [
    mlp(&["gate_proj", "up_proj"], "down_proj"),
    mlp(&["gate_up_proj"], "down_proj"),
    mlp(&["up_proj"], "down_proj"),
    mlp(&["w1", "w3"], "w2"),
    mlp(&["gate", "up"], "down"),
    mlp(&["ffn_gate", "ffn_up"], "ffn_down"),
    mlp(&["wi_0", "wi_1"], "wo"),
    mlp(&["wi"], "wo"),
    mlp(&["fc1"], "fc2"),
    mlp(&["fc_in"], "fc_out"),
    mlp(&["c_fc"], "c_proj"),
    mlp(&["dense_h_to_4h"], "dense_4h_to_h"),
    mlp(&["intermediate.dense"], "output.dense"),
    mlp(&["lin1"], "lin2"),
    mlp(&["linear1"], "linear2"),
    mlp(&["linear_fc1"], "linear_fc2"),
    mlp(&["ffn.up_proj"], "ffn.down_proj"),
    mlp(&["w_in"], "w_out"),
    Mlp { inputs: &["net.0.proj"], output: "net.2", value: 0 },
];

/// Model types whose linear layers are stored inputs × outputs.
const TURNED: [&str; 4] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];

impl Search<'_> {
    /// Adds the neurons of all MLPs.
    pub(super) fn neurons(&mut self) {
        let names: Vec<String> = self.matrices.keys().cloned().collect();
        for mlp in &MLPS {
            for name in &names {
                let Some(module) = name.strip_suffix(mlp.inputs[0]) else { continue };
                let is_module = module.is_empty() || module.ends_with('.');
                let is_new = !self.groups.iter().any(|group| group.name == named(module, name));
                if is_module && is_new {
                    self.of_module(mlp, module, name);
                }
            }
        }
    }

    /// Adds the neurons of one module, if it has the matrices and they fit.
    fn of_module(&mut self, mlp: &Mlp, module: &str, first: &str) {
        let inputs: Vec<String> = mlp.inputs.iter().map(|name| format!("{module}{name}")).collect();
        let reader = format!("{module}{}", mlp.output);
        let shape = |name: &str| self.matrix(name).map(|of| (of.layer.rows, of.layer.cols));
        let shapes: Option<Vec<_>> = inputs.iter().map(|name| shape(name)).collect();
        let (Some(shapes), Some(read)) = (shapes, shape(&reader)) else { return };
        let all = |fits: &dyn Fn((usize, usize)) -> bool| shapes.iter().all(|shape| fits(*shape));
        let may_be_halves = inputs.len() == 1;
        let times = |lines: usize, n: usize| lines == n || (may_be_halves && lines == 2 * n);
        let upright = all(&|(rows, cols)| times(rows, read.1) && cols == read.0);
        let turned = all(&|(rows, cols)| times(cols, read.0) && rows == read.1);
        let is_turned = match (upright, turned) {
            // Without a configuration GPT-2's `c_fc`, which widens, tells by its shape.
            (true, true) if self.config.models.is_empty() => {
                mlp.inputs == ["c_fc"] && shapes[0].0 < shapes[0].1
            }
            (true, true) => self.config.models.iter().any(|model| TURNED.contains(&model.as_str())),
            (false, false) => return,
            (_, turned) => turned,
        };
        let (count, computed, reads) =
            if is_turned { (read.0, Axis::Columns, Axis::Rows) } else { (read.1, Axis::Rows, Axis::Columns) };
        let lines = if is_turned { shapes[0].1 } else { shapes[0].0 };
        let parts = if lines == 2 * count { 2 } else { 1 };
        let tensor = |search: &Self, name: &str| search.matrices.get(name).cloned().unwrap_or_default();
        let biases: Vec<String> = inputs
            .iter()
            .map(|name| format!("{name}.bias"))
            .filter(|bias| self.vector(bias, parts * count).is_some())
            .collect();
        let mut holders: Vec<String> = inputs.iter().map(|name| tensor(self, name)).collect();
        holders.push(tensor(self, &reader));
        holders.extend(biases.iter().cloned());
        // What is added to the stream has its length, which may be that of the neurons.
        holders.push(format!("{reader}.bias"));
        if !module.is_empty()
            && let Some(stranger) = self.stranger(module, &holders, &[count, 2 * count])
        {
            self.notes.push(format!(
                "neurons of `{}` are left as they are: how `{}` holds them is not known",
                brief(module.trim_end_matches('.')),
                brief(&stranger)
            ));
            return;
        }
        let spans = (0..parts).map(|part| Span { first: part * count, ..Span::LINES });
        let mut members: Vec<Member> = vec![];
        for name in &inputs {
            let holder = tensor(self, name);
            members.extend(spans.clone().filter_map(|span| self.member(&holder, computed, span)));
        }
        let roles = Roles {
            first: if members.len() > 1 { 1 - mlp.value } else { 0 },
            value: (members.len() > 1).then_some(mlp.value),
            reader: Some(members.len()),
        };
        members.extend(self.member(&tensor(self, &reader), reads, Span::LINES));
        for bias in &biases {
            members.extend(spans.clone().filter_map(|span| self.member(bias, Axis::Rows, span)));
        }
        let name = named(module, first);
        self.groups.push(UnitGroup { name, kind: UnitKind::Neurons, count, members, roles, queries: None });
    }
}

/// The name of the module, or where there is none that of the first matrix.
fn named(module: &str, first: &str) -> String {
    let module = module.trim_end_matches('.');
    if module.is_empty() { first.to_owned() } else { module.to_owned() }
}
