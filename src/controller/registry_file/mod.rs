//! The registry as a file: where there is no Kubernetes, what it says is what there is.
//!
//! Reading goes in three steps: the format, the rules that go beyond it, and the lowering to the
//! resources of the discovery stream. A file with a single mistake is refused as a whole.

mod check;
mod format;
mod lower;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

pub use super::locate::Position;
pub use format::{EndpointEntry, PortEntry, RegistryFile, ServiceEntry, WorkloadEntry};

use super::{locate::Positions, token::TokenDigest};
use crate::{
    discovery::{resource::Named, validate::Problem},
    identity::SpiffeId,
    yaml,
};

/// The longest list of mistakes that is shown.
const MAX_MISTAKES: usize = 20;

/// What a registry file stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    pub trust_domain: String,
    /// Everything but the trust bundle, which the authority has.
    pub resources: Vec<Named>,
    pub tokens: HashMap<TokenDigest, SpiffeId>,
}

/// A problem and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub position: Position,
    pub problem: Problem,
}

/// Why a registry file is refused: every mistake with its place, one to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRegistry {
    pub file: PathBuf,
    pub mistakes: Vec<Mistake>,
}

impl std::error::Error for InvalidRegistry {}

impl fmt::Display for InvalidRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (index, Mistake { position, problem }) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Position { line, column } = position;
            write!(f, "{file}:{line}:{column}: {problem}")?;
        }
        Ok(())
    }
}

impl Registry {
    /// Reads the text of a registry file; `file` is how messages call it.
    ///
    /// # Errors
    /// With every mistake, or the first where the text cannot be read further.
    pub fn parse(file: &Path, text: &str) -> Result<Self, InvalidRegistry> {
        let invalid = |mut mistakes: Vec<Mistake>| {
            mistakes.sort_by_key(|mistake| mistake.position);
            mistakes.truncate(MAX_MISTAKES);
            let file = file.to_owned();
            InvalidRegistry { file, mistakes }
        };
        let parsed = read(text).map_err(|mistake| invalid(vec![mistake]))?;
        let problems = check::problems(&parsed);
        if !problems.is_empty() {
            let positions = Positions::of(text, options());
            let located = problems.into_iter().map(|problem| Mistake {
                position: positions.find(&problem.field),
                problem,
            });
            return Err(invalid(located.collect()));
        }
        Ok(lower::lower(&parsed))
    }
}

fn read(text: &str) -> Result<RegistryFile, Mistake> {
    if text.trim().is_empty() {
        return Err(Mistake {
            position: Position::START,
            problem: Problem::new("trustDomain", "is missing: the file is empty"),
        });
    }
    yaml::read(text, options()).map_err(|yaml::Unreadable { field, error }| Mistake {
        position: error.location().map_or(Position::START, Position::from),
        problem: Problem::new(field, yaml::reason(&error, text)),
    })
}

/// Room for about 100,000 endpoints.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 10_000_000,
            max_nodes: 5_000_000,
            max_total_scalar_bytes: 256 << 20,
        },
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests;
