//! What `lockgate run --check` finds: the configuration, and the ruleset it names, read as a start
//! reads them. Opens nothing and looks at no interface, user or address.

use super::config::{self, Config};
use super::reload;
use crate::observe::plural;
use crate::ruleset::{Loaded, Refused, Style, render};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A configuration that was found good, and what became of its ruleset.
#[derive(Debug)]
pub struct Checked {
    /// The configuration's file.
    pub config: PathBuf,
    /// The ruleset, as the configuration names it from its folder.
    pub ruleset: PathBuf,
    /// What was found in it.
    pub found: FoundRuleset,
}

/// What became of the ruleset.
#[derive(Debug)]
pub enum FoundRuleset {
    /// An instance would start with it.
    Good(Box<Loaded>),
    /// An instance would not start.
    Refused(Box<Refused>),
    /// There is no such file or folder: the configuration is for another machine.
    NotHere,
}

/// Reads a configuration and its ruleset.
///
/// # Errors
/// What is wrong with the configuration; its ruleset is not read then.
pub fn check(path: &Path) -> Result<Checked, Box<Refused>> {
    let config = config::load(path)?;
    let found = look(&config);
    Ok(Checked { config: config.path, ruleset: config.ruleset, found })
}

fn look(config: &Config) -> FoundRuleset {
    // A link that leads nowhere is here, and wrong.
    match std::fs::symlink_metadata(&config.ruleset) {
        Err(error) if error.kind() == ErrorKind::NotFound => FoundRuleset::NotHere,
        _ => match reload::read(config, None) {
            Ok(loaded) => FoundRuleset::Good(Box::new(loaded)),
            Err(refused) => FoundRuleset::Refused(refused),
        },
    }
}

impl Checked {
    /// Whether nothing that was read keeps an instance from starting.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        !matches!(self.found, FoundRuleset::Refused(_))
    }

    /// Every error and warning of the ruleset, with its place; empty if there is none.
    #[must_use]
    pub fn findings(&self, style: Style) -> String {
        match &self.found {
            FoundRuleset::Good(loaded) => render(&loaded.warnings, &loaded.sources, style),
            FoundRuleset::Refused(refused) => refused.render(style),
            FoundRuleset::NotHere => String::new(),
        }
    }
}

/// One line: what was found good, and what was not.
impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: good; ruleset {}: ", self.config.display(), self.ruleset.display())?;
        let warnings = match &self.found {
            FoundRuleset::Good(loaded) => {
                f.write_str("good")?;
                loaded.warnings.len()
            }
            FoundRuleset::Refused(refused) => {
                write!(f, "refused, {}", plural(refused.errors.len() as u64, "error"))?;
                refused.warnings.len()
            }
            FoundRuleset::NotHere => return f.write_str("not here, not checked"),
        };
        match warnings {
            0 => Ok(()),
            _ => write!(f, ", {}", plural(warnings as u64, "warning")),
        }
    }
}
