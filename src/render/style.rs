//! The options of a table: width, columns, colors, hidden rows.

/// How a person wants to see the report.
#[derive(Debug, Clone)]
pub struct TableStyle<'a> {
    /// Widest line, in characters.
    pub width: usize,
    /// Keys of the columns, most wanted first.
    pub columns: Vec<&'a str>,
    /// What to do when the columns do not fit.
    pub overflow: Overflow,
    /// Most lines of rows; none for all of them.
    pub limit: Option<usize>,
    /// Most rows that are listed below each rule.
    pub offenders: usize,
    /// How rows are laid out.
    pub layout: Layout,
    /// Whether escape sequences may be used.
    pub paint: Paint,
    /// Whether a comparison shows unchanged matrices.
    pub unchanged: Unchanged,
    /// How experts are shown.
    pub experts: Experts,
    /// How CSV cells that a spreadsheet would take for formulas are written.
    pub formulas: Formulas,
}

/// Whether a comparison shows unchanged matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// One line for each expert, like the others.
    Shown,
    /// Their number at the foot.
    Hidden,
}

/// What to do when the chosen columns are wider than the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Leave out the least wanted.
    Drop,
    /// Continue in another table below: the user asked for these.
    Split,
    /// Write a longer line: the user asked for these, and the width is not known.
    Keep,
}

/// How rows are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Under a line for each block of the model.
    Grouped,
    /// Full names, in the order of the report.
    Flat,
}

/// Whether escape sequences may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Bold headings, dim notes, a red or green verdict.
    Color,
    /// Text alone.
    Plain,
}

impl Paint {
    pub(super) fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Color => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// How the table shows experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Experts {
    /// One line for all of one projection in one block, where these are many.
    Folded,
    /// One line for each expert.
    Apart,
}

/// How text that a spreadsheet would take for a formula is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formulas {
    /// It gets an apostrophe in front.
    Defused,
    /// It stays, for programs that read the file.
    Kept,
}
