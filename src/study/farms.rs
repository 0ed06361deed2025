//! `farms`: the tail exponent free of aspect-ratio bias.

use super::asked::PlanPart;
use super::matrices::{Copies, Method};
use super::spectrum::precision_word;
use super::{Asked, Beside, FoundMatrix, Matrices, Opened, OwnColumns, Spectra};
use crate::analysis::farms::{self, Convolution, FARMS, Of, Settings};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::metric::StartRule;
use crate::report::Column;

/// The options.
#[derive(Debug, Clone)]
pub struct FarmsRequest {
    /// The windows, and how a tail is fitted to them.
    pub settings: Settings,
    /// The columns that are wanted.
    pub asked: Asked,
}

impl FarmsRequest {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        FARMS.iter().map(|metric| &metric.column).collect()
    }

    /// Of the columns, those that are measured.
    fn metrics(&self) -> farms::Metrics {
        let Asked { own, .. } = &self.asked;
        let is_asked =
            |metric: &&farms::Metric| *own == OwnColumns::Wanted || self.asked.names(&metric.column);
        FARMS.iter().filter(is_asked).collect::<Vec<_>>().leak()
    }

    /// Work on the matrices of `study`, with these windows and with `cheap` ones.
    pub fn work(&self, study: &Matrices, windows_per_dim: usize) -> (f64, f64) {
        let (metrics, cheap) = (self.metrics(), Settings { windows_per_dim, ..self.settings });
        let flops = |settings: &Settings| {
            study.layers().iter().map(|layer| farms::cost(layer, settings, metrics).flops).sum::<f64>()
        };
        (flops(&self.settings), flops(&cheap))
    }

    /// The tasks over the matrices of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        let metrics = self.metrics();
        let Self { settings, asked } = self;
        let part = |what, is_for: fn(Of) -> bool, at: usize| {
            let columns = metrics.iter().filter(|metric| is_for(metric.of)).map(|metric| &metric.column);
            let flops = move |layer: &Layer| farms::costs(layer, &settings)[at].flops;
            PlanPart { what, columns: asked.told(columns), flops: Box::new(flops) }
        };
        let parts = [part("values", Of::is_whole, 0), part("windows", Of::is_windows, 1)];
        let is_windowed = metrics.iter().any(|metric| metric.of.is_windows());
        let columns: Vec<&'static Column> = metrics.iter().map(|metric| &metric.column).collect();
        let start = match settings.start {
            StartRule::Ks => "ks",
            StartRule::Median => "median",
            StartRule::Peak => "peak",
            StartRule::PeakFixed => "peak-fixed",
        };
        let convolution = match settings.convolution {
            Convolution::Fold => "fold",
            Convolution::Blocks => "farms",
        };
        let method = Method {
            command: "farms",
            shown: columns.clone(),
            columns,
            parts: parts.into_iter().filter(|part| !part.columns.is_empty()).collect(),
            // Values of the whole alone are kept by themselves.
            kept_by: is_windowed.then(String::new),
            settings: vec![
                ("window", settings.window.to_string()),
                ("aspect", settings.aspect.to_string()),
                ("windows_per_dim", settings.windows_per_dim.to_string()),
                ("xmin", start.to_owned()),
                ("conv", convolution.to_owned()),
                ("precision", precision_word(settings.precision).to_owned()),
            ],
            cost: Box::new(move |layer| farms::cost(layer, &settings, metrics)),
            measure: Box::new(move |source, layer: &Layer, memo| {
                let measured = farms::measure(source, layer, &settings, metrics, memo)?;
                Ok(FoundMatrix::new(measured, layer, Spectra::Dropped))
            }),
            base: None,
            copies: Copies::Recalled,
            beside: Beside::Nothing,
        };
        Matrices::new(opened, filter, method)
    }
}
