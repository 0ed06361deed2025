//! What a study of heads costs, what its numbers depend on, and where its tasks read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::skipped;
use super::{Heads, HeadsOpened, Task};
use crate::analysis::heads::{Inputs, Module};
use crate::checkpoint::Derivations;
use crate::layer::Layer;
use crate::study::{Basis, Estimate, Reads, Study};

impl Heads {
    /// What it costs.
    pub fn estimate(&self) -> Estimate {
        let jobs = self.costs();
        let largest = self.tasks.iter().zip(&jobs).max_by_key(|(_, job)| job.bytes).map(|(task, job)| {
            let module = &self.model.modules.modules[task.module];
            (*job, module.name.as_str().into(), [module.width, module.heads * module.head_dim])
        });
        let layers: BTreeMap<&str, &Arc<Layer>> = self
            .tasks
            .iter()
            .flat_map(|task| [Some(task.module), task.later])
            .flatten()
            .flat_map(|module| self.model.modules.modules[module].layers())
            .map(|layer| (layer.name.as_str(), layer))
            .collect();
        Estimate {
            parts: vec![],
            justified: vec![u64::MAX; jobs.len()],
            largest,
            parameters: layers.values().map(|layer| layer.parameters() as u64).sum(),
            bytes: layers.values().map(|layer| layer.bytes()).sum(),
            report: self.rows.len() as u64 * 1200,
            skipped: skipped(&self.model.source, &self.model.modules.modules).len(),
            jobs,
        }
    }

    /// What its numbers depend on beside the settings of the report.
    pub(super) fn origins(&self) -> Basis {
        let mut derivations = Derivations::default();
        let models = std::iter::once(&self.model).chain(&self.base);
        for HeadsOpened { source, modules, .. } in models {
            derivations.add_files(source);
            for layer in modules.modules.iter().flat_map(Module::layers) {
                derivations.add(source, layer);
            }
        }
        let inputs = self.inputs.as_ref().map_or_else(|| "none".to_owned(), Inputs::digest);
        let layout = blake3::hash(format!("{:?}", self.model.modules).as_bytes()).to_hex();
        let options = vec![
            ("the options", format!("{:?}", self.request)),
            ("the inputs", inputs),
            ("the layout of heads", layout.to_string()),
        ];
        Basis { options, derivations, reports: vec![] }
    }

    /// Where a task begins to read.
    pub(super) fn first_read(&self, task: &Task) -> Reads {
        let modules = &self.model.modules.modules;
        let both = [Some(task.module), task.later].into_iter().flatten();
        let bytes = both.flat_map(|at| modules[at].layers()).map(|layer| layer.bytes()).sum();
        let layer = modules[task.module].layers().into_iter().min_by_key(|layer| (layer.file, layer.offset));
        let (file, offset) = layer.map_or((usize::MAX, 0), |layer| (layer.file, layer.offset));
        Reads { file, offset, bytes }
    }
}
