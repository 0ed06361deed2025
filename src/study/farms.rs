//! `farms`: the tail exponent free of aspect-ratio bias.

use super::matrices::{Copies, Method};
use super::spectrum::precision_word;
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::farms::{self, Convolution, FARMS, Settings};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::metric::StartRule;
use crate::report::Column;

/// The options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FarmsRequest {
    /// The windows, and how a tail is fitted to them.
    pub settings: Settings,
}

impl FarmsRequest {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        FARMS.iter().map(|metric| &metric.column).collect()
    }

    /// Work on the matrices of `study`, with these windows and with `cheap` ones.
    pub fn work(&self, study: &Matrices, windows_per_dim: usize) -> (f64, f64) {
        let cheap = Settings { windows_per_dim, ..self.settings };
        let flops = |settings: &Settings| {
            study.layers().iter().map(|layer| farms::cost(layer, settings).flops).sum::<f64>()
        };
        (flops(&self.settings), flops(&cheap))
    }

    /// The tasks over the matrices of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        let Self { settings } = self;
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
            columns: self.columns(),
            settings: vec![
                ("window", settings.window.to_string()),
                ("aspect", settings.aspect.to_string()),
                ("windows_per_dim", settings.windows_per_dim.to_string()),
                ("xmin", start.to_owned()),
                ("conv", convolution.to_owned()),
                ("precision", precision_word(settings.precision).to_owned()),
            ],
            cost: Box::new(move |layer| farms::cost(layer, &settings)),
            measure: Box::new(move |source, layer: &Layer, _| {
                Ok(FoundMatrix::new(farms::measure(source, layer, &settings)?, layer, Spectra::Dropped))
            }),
            base: None,
            copies: Copies::Spared,
            beside: Beside::Nothing,
        };
        Matrices::new(opened, filter, method)
    }
}
