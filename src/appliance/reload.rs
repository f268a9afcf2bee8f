//! A new ruleset under a running instance: compiled beside the old one, installed whole or refused
//! whole. A refusal leaves the old one in force and is told in the log, in metrics and in health.

use super::clock::Clock;
use super::command::{Command, Found, Task};
use super::config::Config;
use super::filter::Filter;
use super::instance::{Instance, Silent};
use crate::model::Timestamp;
use crate::policy::Policy;
use crate::ruleset::{self, Date, Diagnostic, Loaded, Options, Refused, Style};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long all workers may take to install a policy.
const INSTALL: Duration = Duration::from_secs(10);
/// Bytes of the errors that are kept of a refused ruleset.
const REPORT_BYTES: usize = 16 << 10;

/// Which sum of [`Instance::reloads`].
const INSTALLED: usize = 0;
const REFUSED: usize = 1;

/// A ruleset that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// How many errors it has.
    pub errors: usize,
    /// The errors with their places, or the beginning of them.
    pub report: String,
}

impl Refusal {
    /// Of a ruleset with these errors.
    #[must_use]
    pub fn of(refused: &Refused) -> Self {
        let mut report = refused.render(Style::PLAIN);
        if report.len() > REPORT_BYTES {
            let end = (0..=REPORT_BYTES).rev().find(|at| report.is_char_boundary(*at));
            report.truncate(end.unwrap_or(0));
            report.push_str("\n...\n");
        }
        Self { at: Clock::wall(), errors: refused.errors.len(), report }
    }

    /// It in a few words.
    #[must_use]
    pub fn sentence(&self) -> String {
        let plural = if self.errors == 1 { "error" } else { "errors" };
        format!(
            "the ruleset was refused at {}, {} {plural}; the one before stays in force",
            Timestamp::from_secs(self.at.as_secs()).to_string().replace(".000000000", ""),
            self.errors
        )
    }
}

/// Why there is no new policy.
#[derive(Debug)]
pub enum ReloadError {
    /// The ruleset is wrong.
    Refused(Refusal),
    /// A worker does not answer; workers that do have the new policy.
    Silent(Silent),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.sentence()),
            Self::Silent(silent) => silent.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}

/// A policy that was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its number, counted from one.
    pub epoch: u32,
    /// What it holds.
    pub summary: String,
    /// Findings that are no errors.
    pub warnings: usize,
}

/// What a new ruleset would do to live flows.
#[derive(Debug)]
pub struct Preview {
    /// The policy it was asked of, for the names of rules.
    pub policy: Arc<Policy>,
    /// What it holds.
    pub summary: String,
    /// What would change.
    pub found: Found,
}

impl Instance {
    /// Reads the ruleset and installs it.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays in force then.
    pub fn reload(&self) -> Result<Installed, ReloadError> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match self.compile() {
            Ok(loaded) => loaded,
            Err(refused) => return Err(ReloadError::Refused(self.note_refusal(&refused))),
        };
        let (summary, warnings) = (loaded.summary.to_string(), loaded.warnings.len());
        let epoch = self.install(Arc::new(loaded.policy)).map_err(ReloadError::Silent)?;
        self.state().refusal = None;
        if let Some(count) = self.reloads.get(INSTALLED) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        tracing::info!(epoch, warnings, "ruleset installed");
        Ok(Installed { epoch, summary, warnings })
    }

    /// What installing the ruleset now would change of live flows. Nothing is installed.
    ///
    /// # Errors
    /// What is wrong with the ruleset; this refusal is only told to whoever asked.
    pub fn preview(&self, room: usize) -> Result<Preview, ReloadError> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded =
            self.compile().map_err(|refused| ReloadError::Refused(Refusal::of(&refused)))?;
        let (policy, summary) = (Arc::new(loaded.policy), loaded.summary.to_string());
        let task = Task::Preview(Arc::clone(&policy));
        let found = self.walk(&task, &Filter::default(), room).map_err(ReloadError::Silent)?;
        Ok(Preview { policy, summary, found })
    }

    /// The rulesets installed and refused since the start.
    #[must_use]
    pub fn reload_counts(&self) -> (u64, u64) {
        let of = |at: usize| self.reloads.get(at).map_or(0, |count| count.load(Ordering::Relaxed));
        (of(INSTALLED), of(REFUSED))
    }

    fn compile(&self) -> Result<Loaded, Box<Refused>> {
        read(&self.config, Some(&self.policy())).map_err(|mut refused| {
            let denied = |error: &&mut Diagnostic| error.message.contains("permission denied");
            for error in refused.errors.iter_mut().filter(denied) {
                error.help.push(self.readable());
            }
            refused
        })
    }

    /// What a running instance may read: others, and a check beside it, may read more.
    fn readable(&self) -> String {
        format!(
            "a running instance may read only the folders that {} was in and led to at its start, as \
             the user it became: put the ruleset there, readable for it, or restart the instance",
            self.config.ruleset.display()
        )
    }

    fn install(&self, policy: Arc<Policy>) -> Result<u32, Silent> {
        let epochs = self.ask(INSTALL, |done| Command::Install(Arc::clone(&policy), done));
        // Also where a worker is silent: others have it, and the next ruleset must not give the ids of
        // its scopes to others, whose packets would meet flows of these.
        let mut state = self.state();
        state.policy = policy;
        state.installed = Clock::wall();
        Ok(epochs?.into_iter().max().unwrap_or(0))
    }

    fn note_refusal(&self, refused: &Refused) -> Refusal {
        let refusal = Refusal::of(refused);
        if let Some(count) = self.reloads.get(REFUSED) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let first = refused.errors.first();
        tracing::error!(
            errors = refusal.errors,
            first = first.map(|error| error.message.as_str()).unwrap_or_default(),
            help = first.and_then(|error| error.help.last()),
            "the ruleset is refused; the one before stays in force"
        );
        self.state().refusal = Some(refusal.clone());
        refusal
    }
}

/// Reads the ruleset of an instance: what a start, a reload and `lockgate run --check` share.
/// Scopes keep the ids that they have in `previous`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(config: &Config, previous: Option<&Policy>) -> Result<Loaded, Box<Refused>> {
    let options =
        Options { today: today(), capacity: config.capacity, previous, ..Options::default() };
    ruleset::load(&config.ruleset, &options)
}

/// The present day.
#[must_use]
pub fn today() -> Option<Date> {
    let now = Clock::wall().to_string();
    Date::parse_day(now.split('T').next()?)
}
