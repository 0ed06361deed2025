//! Columns: their texts, and how a comparison's keys are made from its metrics' keys.

use std::fmt;

/// How a column's numbers are written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A whole number.
    Count,
    /// A real number, to three significant digits.
    Real,
    /// A share of one, as a percentage.
    Share,
    /// A relative change, as a percentage with its sign.
    Change,
}

/// Everything the program says about one number, said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The key in JSON, CSV, `--columns`, `--sort` and `--fail-if`.
    pub key: &'static str,
    /// The header in a table.
    pub label: &'static str,
    /// How the number is written for people.
    pub format: Format,
    /// The subject of the number.
    pub quantity: Quantity,
    /// Formula and meaning in one sentence.
    pub doc: &'static str,
    /// Its range, with the unit if it has one.
    pub range: &'static str,
    /// Paper, equation or package the definition is from.
    pub source: &'static str,
}

/// The subject of a column's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// One matrix, or whatever else a row is about: in a comparison of two reports each has one.
    Matrix(Accuracy),
    /// Two matrices: in a comparison it has no other [`Aspect`] than its value.
    Pair(Accuracy),
    /// The aspects of a metric in a comparison.
    Compared(ColumnKey<'static>),
}

/// How far a value may be off, from the floor that its spectrum carries (docs/numerics.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accuracy {
    /// Not at all: it is counted, or read off the entries.
    Exact,
    /// In proportion to itself.
    Relative,
    /// By the floor, whatever its size: the smallest singular value.
    Floor,
    /// In proportion to its square: a ratio to the smallest singular value.
    OverFloor,
}

/// Which number of a comparison, of those that a metric has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// The tuned side's, or the only one.
    Value,
    /// The base's.
    Base,
    /// Tuned − base.
    Difference,
    /// The same relative to the base.
    Change,
    /// How fast it grows over the steps of a run, by least squares: per step.
    Slope,
    /// Its largest change from one step of a run to the next, relative to the earlier one, with its sign.
    StepChange,
    /// The step of that.
    StepChangeAt,
}

impl Aspect {
    /// Every aspect, with what its keys end in.
    pub const ALL: [(Self, &str); 7] = [
        (Self::Value, ""),
        (Self::Base, "_base"),
        (Self::Difference, "_difference"),
        (Self::Change, "_change"),
        (Self::Slope, "_slope"),
        (Self::StepChange, "_max_step_change"),
        (Self::StepChangeAt, "_max_step_change_at"),
    ];

    /// Those of a metric over the steps of a run.
    pub const OF_STEPS: [Self; 3] = [Self::Slope, Self::StepChange, Self::StepChangeAt];

    /// The aspects that rules call like functions: `slope(spectral_norm)`.
    pub const FUNCTIONS: [(&str, Self); 3] =
        [("last", Self::Value), ("slope", Self::Slope), ("max_step_change", Self::StepChange)];

    /// Whether `metric` has it, of the tuned side `side`.
    fn exists(self, metric: &Column, side: Option<&str>) -> bool {
        match self {
            Self::Value => true,
            // The base has no tuned side.
            Self::Base => side.is_none() && !metric.is_of_a_pair(),
            Self::Difference | Self::Change => !metric.is_of_a_pair(),
            // A step is compared with no more than one base.
            Self::Slope | Self::StepChange | Self::StepChangeAt => side.is_none(),
        }
    }
}

/// Which number a column holds: `condition_number_change@ft` is the change of the metric `condition_number` on the tuned
/// side `ft`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnKey<'s> {
    /// The metric, as its table has it: two tables may use one word for two numbers.
    pub metric: &'static Column,
    /// Which number of it.
    pub aspect: Aspect,
    /// Which tuned side, where there are several.
    pub side: Option<&'s str>,
}

impl<'s> ColumnKey<'s> {
    /// What `text` means where there are these `metrics`: of those that it begins with, the longest that leaves an aspect.
    pub fn parse(text: &'s str, metrics: impl IntoIterator<Item = &'static Column>) -> Option<Self> {
        let mut metrics: Vec<&'static Column> =
            metrics.into_iter().filter(|metric| text.starts_with(metric.key)).collect();
        metrics.sort_by_key(|metric| std::cmp::Reverse(metric.key.len()));
        metrics.into_iter().find_map(|metric| {
            let rest = &text[metric.key.len()..];
            let (ending, side) = match rest.split_once('@') {
                Some((_, "")) => return None,
                Some((ending, side)) => (ending, Some(side)),
                None => (rest, None),
            };
            let (aspect, _) = Aspect::ALL.into_iter().find(|(_, known)| *known == ending)?;
            aspect.exists(metric, side).then_some(Self { metric, aspect, side })
        })
    }

    /// The same metric and side in another aspect.
    #[must_use]
    pub fn of(self, aspect: Aspect) -> Self {
        let has_side = aspect != Aspect::Base && !Aspect::OF_STEPS.contains(&aspect);
        Self { aspect, side: self.side.filter(|_| has_side), ..self }
    }

    /// The column; one that no table has is made, and lives as long as the program.
    pub fn column(self) -> &'static Column {
        let Self { metric, aspect, side } = self;
        if (aspect, side) == (Aspect::Value, None) {
            return metric;
        }
        let keep = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let Column { key, label, format, doc, range, .. } = *metric;
        let own = |label: String, format, range, doc: String| Column {
            label: keep(label),
            format,
            doc: keep(doc),
            range,
            ..*metric
        };
        let column = match aspect {
            Aspect::Value => own(label.to_owned(), format, range, doc.to_owned()),
            Aspect::Base => own(format!("base {label}"), format, range, format!("the base's `{key}`")),
            Aspect::Difference => {
                let format = if format == Format::Share { Format::Share } else { Format::Real };
                own(format!("{label} +"), format, "(−∞, ∞)", format!("`{key}` − `{key}_base`"))
            }
            Aspect::Change => own(
                format!("Δ {label}"),
                Format::Change,
                "(−∞, ∞)",
                format!("(`{key}` − `{key}_base`)/|`{key}_base`|"),
            ),
            Aspect::Slope => own(
                format!("{label}\nslope"),
                Format::Real,
                "(−∞, ∞), per step",
                format!("the least-squares slope of `{key}` over the steps of a run"),
            ),
            Aspect::StepChange => own(
                format!("{label}\nmax Δ"),
                Format::Change,
                "(−∞, ∞)",
                format!(
                    "the largest change of `{key}` from one step of a run to the next, relative to the earlier one"
                ),
            ),
            Aspect::StepChangeAt => own(
                format!("{label}\nmax Δ at"),
                Format::Count,
                "a step",
                format!("the step of `{key}_max_step_change`"),
            ),
        };
        let label = match side {
            Some(side) => keep(format!("{side}\n{}", column.label)),
            None => column.label,
        };
        let side = side.map(|side| keep(side.to_owned()));
        let quantity = Quantity::Compared(ColumnKey { metric, aspect, side });
        Box::leak(Box::new(Column { key: keep(self.to_string()), label, quantity, ..column }))
    }
}

impl fmt::Display for ColumnKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = Aspect::ALL.iter().find(|(aspect, _)| *aspect == self.aspect);
        write!(f, "{}{}", self.metric.key, ending.map_or("", |(_, ending)| ending))?;
        self.side.map_or(Ok(()), |side| write!(f, "@{side}"))
    }
}

impl Column {
    /// A real number of one matrix, as exact as its spectrum.
    pub const fn real(
        key: &'static str,
        label: &'static str,
        doc: &'static str,
        range: &'static str,
        source: &'static str,
    ) -> Self {
        let quantity = Quantity::Matrix(Accuracy::Relative);
        Self { key, label, format: Format::Real, quantity, doc, range, source }
    }

    /// The same number as a share of one.
    #[must_use]
    pub const fn as_share(self) -> Self {
        Self { format: Format::Share, ..self }
    }

    /// Which number it holds.
    pub fn means(&'static self) -> ColumnKey<'static> {
        match self.quantity {
            Quantity::Matrix(_) | Quantity::Pair(_) => {
                ColumnKey { metric: self, aspect: Aspect::Value, side: None }
            }
            Quantity::Compared(key) => key,
        }
    }

    /// Whether it is the column that holds what `key` says.
    pub fn holds(&'static self, key: ColumnKey<'_>) -> bool {
        let own = self.means();
        // The aspect first: metrics are long.
        own.aspect == key.aspect && own == key
    }

    /// How far a value of its metric may be off.
    pub fn accuracy(&self) -> Accuracy {
        match self.quantity {
            Quantity::Matrix(accuracy) | Quantity::Pair(accuracy) => accuracy,
            Quantity::Compared(key) => key.metric.accuracy(),
        }
    }

    /// Whether its metric is one of two matrices.
    pub fn is_of_a_pair(&self) -> bool {
        match self.quantity {
            Quantity::Matrix(_) => false,
            Quantity::Pair(_) => true,
            Quantity::Compared(key) => key.metric.is_of_a_pair(),
        }
    }

    /// A column of a report whose definition is not known here; it lives as long as the program.
    pub fn foreign(key: &str) -> &'static Self {
        let key: &'static str = key.to_owned().leak();
        Box::leak(Box::new(Self {
            key,
            label: key,
            format: Format::Real,
            quantity: Quantity::Matrix(Accuracy::Relative),
            doc: "a column of the reports that are compared",
            range: "",
            source: "",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn metric(key: &'static str, quantity: Quantity) -> Column {
        Column { key, label: key, format: Format::Real, quantity, doc: "", range: "", source: "" }
    }

    static RANK: Column = metric("rank", Quantity::Matrix(Accuracy::Exact));
    static RANK_CHANGE: Column = metric("rank_change", Quantity::Matrix(Accuracy::Exact));
    static ANGLE: Column = metric("angle", Quantity::Pair(Accuracy::Relative));
    static METRICS: [&Column; 3] = [&RANK, &RANK_CHANGE, &ANGLE];

    fn check(text: &str, expected: Option<(&str, Aspect, Option<&str>)>) {
        let found = ColumnKey::parse(text, METRICS);
        assert_eq!(found.map(|key| (key.metric.key, key.aspect, key.side)), expected, "{text}");
        if let Some(key) = found {
            assert_eq!(key.to_string(), text);
            assert_eq!((key.column().key, key.column().means()), (text, key));
        }
    }

    #[test]
    fn a_key_is_taken_apart_by_the_longest_metric() {
        check("rank", Some(("rank", Aspect::Value, None)));
        check("rank_base", Some(("rank", Aspect::Base, None)));
        check("rank_difference@a.b#2", Some(("rank", Aspect::Difference, Some("a.b#2"))));
        check("rank_change", Some(("rank_change", Aspect::Value, None)));
        check("rank_change_change@x", Some(("rank_change", Aspect::Change, Some("x"))));
        check("rank@_base", Some(("rank", Aspect::Value, Some("_base"))));
        for none in ["ran", "rank_", "rank_base@x", "rank@", "rank_Change", "", "@x"] {
            check(none, None);
        }
    }

    #[test]
    fn a_number_of_a_pair_has_no_base() {
        check("angle", Some(("angle", Aspect::Value, None)));
        check("angle@x", Some(("angle", Aspect::Value, Some("x"))));
        for none in ["angle_base", "angle_change", "angle_difference@x"] {
            check(none, None);
        }
    }

    #[test]
    fn every_metric_has_a_course_over_steps_and_no_side_of_it() {
        check("angle_slope", Some(("angle", Aspect::Slope, None)));
        check("rank_max_step_change", Some(("rank", Aspect::StepChange, None)));
        check("rank_max_step_change_at", Some(("rank", Aspect::StepChangeAt, None)));
        for none in ["rank_slope@x", "angle_max_step_change_at@x", "rank_max_step"] {
            check(none, None);
        }
    }
}
