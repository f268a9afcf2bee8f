//! Start-up: from a configuration to threads that serve. Everything that needs rights is opened
//! first, then rights are given away, then threads start.

use super::clock::Clock;
use super::command::{COMMANDS_MAX, LESSONS_MAX};
use super::config::{self, Config};
use super::denied::Ring;
use super::flow_log::{self, FlowLog, Writer};
use super::http::{self, Pages};
use super::instance::{Handle, Instance};
use super::notify::Notify;
use super::privileges::{Sandbox, User, UserError, become_user, enter, is_root};
use super::worker::{Pulse, Worker};
use super::{control, reload, supervise};
use crate::engine::{Engine, Gateways};
use crate::flow::Secret;
use crate::io::live::{self, Mode, Opened, Port, PortError};
use crate::policy::Policy;
use crate::ruleset::Refused;
use crate::wire::{Checksums, Settings};
use crossbeam_channel::bounded;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Why an instance does not start.
#[derive(Debug)]
pub enum StartError {
    /// The ruleset or the configuration is wrong.
    Refused(Box<Refused>),
    /// No packets.
    Port(PortError),
    /// Health or metrics cannot listen.
    Listen(&'static str, SocketAddr, io::Error),
    /// The control socket cannot listen.
    Control(PathBuf, io::Error),
    /// The flow log cannot be opened.
    FlowLog(PathBuf, io::Error),
    /// Rights cannot be given away.
    User(UserError),
    /// The system has no random numbers, threads or signals.
    System(&'static str, String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Port(error) => error.fmt(f),
            Self::Listen(what, address, error) => match error.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "{what}: {address} is in use by another program; `ss -ltnp sport = :{port}` \
                     tells which, `{what}.listen` chooses another",
                    port = address.port()
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "{what}: {address} may not be listened on; a port below 1024 needs \
                     CAP_NET_BIND_SERVICE (root has it), or `{what}.listen` with a higher one"
                ),
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "{what}: no interface has the address {}; 0.0.0.0 is every one",
                    address.ip()
                ),
                _ => write!(f, "{what}: {address}: {error}"),
            },
            Self::Control(path, error) => write!(f, "control: {}: {error}", path.display()),
            Self::FlowLog(path, error) => write!(f, "flow log: {}: {error}", path.display()),
            Self::User(error) => error.fmt(f),
            Self::System(what, why) => write!(f, "{what}: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The threads of an instance, to be waited for.
pub struct Threads {
    workers: Vec<JoinHandle<Result<(), PortError>>>,
    writer: Option<(FlowLog, JoinHandle<()>)>,
}

impl Threads {
    /// Waits until every worker has ended and every record is written; gives the ports' faults.
    #[must_use]
    pub fn join(self) -> Vec<PortError> {
        let ended = self.workers.into_iter().map(JoinHandle::join);
        let faults = ended.filter_map(|result| result.ok().and_then(Result::err)).collect();
        if let Some((log, writer)) = self.writer {
            log.end();
            let _ = writer.join();
        }
        faults
    }
}

/// Runs an instance until it is told to leave.
///
/// # Errors
/// Why it does not start.
pub fn run(path: &Path) -> Result<supervise::Left, StartError> {
    let config = config::load(path).map_err(StartError::Refused)?;
    super::process_log::start(config.log_format, config.log_level);
    let notify = Notify::from_environment();
    let user = config.user.as_deref().map(User::find).transpose().map_err(StartError::User)?;
    let loaded = reload::read(&config, None).map_err(StartError::Refused)?;
    if !loaded.warnings.is_empty() {
        tracing::warn!(
            warnings = loaded.warnings.len(),
            "the ruleset has warnings; `lockgate check` has them"
        );
    }
    let sockets = Sockets::open(&config)?;
    let opened = live::open(&config.port).map_err(StartError::Port)?;
    let log = open_log(&config, user.as_ref());
    let signals = supervise::Signals::take()
        .map_err(|error| StartError::System("signals", error.to_string()))?;
    become_somebody(&config, user.as_ref())?;
    // A folder that is the user's own may be closed to a root without every capability.
    let log = match log {
        Err(StartError::FlowLog(_, error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_log(&config, None)?
        }
        log => log?,
    };
    shut_in(&config);
    let backend = describe(&opened);
    let policy = Arc::new(loaded.policy);
    let (instance, threads) = assemble(config, policy, opened.ports, backend, log)?;
    sockets.serve(&instance)?;
    Ok(supervise::supervise(&instance, threads, &signals, &notify))
}

fn describe(opened: &Opened) -> String {
    if let Some(refused) = &opened.fallback {
        tracing::warn!(%refused, "the faster back end is not used");
    }
    for note in &opened.notes {
        tracing::warn!("{note}");
    }
    let name = match opened.backend {
        live::Backend::AfXdp => "af-xdp",
        _ => "af-packet",
    };
    let text = if opened.detail.is_empty() {
        name.to_owned()
    } else {
        format!("{name}, {}", opened.detail)
    };
    tracing::info!(backend = text, mtu = opened.mtu, ports = opened.ports.len(), "ports are open");
    text
}

fn open_log(config: &Config, user: Option<&User>) -> Result<Option<(FlowLog, Writer)>, StartError> {
    let Some(settings) = &config.flow_log else { return Ok(None) };
    let path = settings.file.clone().unwrap_or_default();
    let opened = flow_log::open(settings).map_err(|e| StartError::FlowLog(path.clone(), e))?;
    if let (Some(user), Some(file)) = (user, &settings.file) {
        // Without, the file could not be opened again after it is moved away.
        chown(file, Some(user.uid), Some(user.gid))
            .map_err(|error| StartError::FlowLog(path, error))?;
    }
    Ok(Some(opened))
}

/// The listeners of health, metrics and control.
struct Sockets {
    health: TcpListener,
    metrics: Option<TcpListener>,
    control: UnixListener,
}

impl Sockets {
    fn open(config: &Config) -> Result<Self, StartError> {
        let listen = |what, address: SocketAddr| {
            TcpListener::bind(address).map_err(|error| StartError::Listen(what, address, error))
        };
        Ok(Self {
            health: listen("health", config.health)?,
            metrics: config.metrics.map(|address| listen("metrics", address)).transpose()?,
            control: control::bind(&config.control)
                .map_err(|error| StartError::Control(config.control.clone(), error))?,
        })
    }

    fn serve(self, instance: &Arc<Instance>) -> Result<(), StartError> {
        let both = Pages { health: true, metrics: self.metrics.is_none() };
        let only = Pages { health: false, metrics: true };
        let (health, inst) = (self.health, Arc::clone(instance));
        spawn("health", move || http::serve(&health, both, &inst))?;
        if let Some(metrics) = self.metrics {
            let inst = Arc::clone(instance);
            spawn("metrics", move || http::serve(&metrics, only, &inst))?;
        }
        let (socket, inst) = (self.control, Arc::clone(instance));
        spawn("control", move || control::serve(&socket, &inst))?;
        Ok(())
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| StartError::System("threads", error.to_string()))
}

/// Becomes nobody in particular.
fn become_somebody(config: &Config, user: Option<&User>) -> Result<(), StartError> {
    if let Some(user) = user {
        // The socket and its folder's owner may differ; whoever runs the instance may ask it.
        chown(&config.control, Some(user.uid), Some(user.gid))
            .map_err(|error| StartError::Control(config.control.clone(), error))?;
    } else if is_root() {
        tracing::warn!("it stays root, without capabilities; `user` names who it becomes");
    }
    become_user(user).map_err(StartError::User)
}

/// Enters the sandbox.
fn shut_in(config: &Config) {
    let parent = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).to_path_buf()
    };
    let log = config.flow_log.as_ref().and_then(|log| log.file.as_deref());
    // Folders around the ruleset, as it is named and where it really is: it may be a link that is set
    // to another folder beside either.
    let real = config.ruleset.canonicalize().ok();
    let sandbox = Sandbox {
        read: real.as_deref().into_iter().chain([&*config.ruleset]).map(parent).collect(),
        write: log.map(parent).into_iter().chain([parent(&config.control)]).collect(),
    };
    for missing in enter(&sandbox) {
        tracing::warn!(missing, "part of the sandbox is not there");
    }
    if let Err(error) = std::fs::metadata(&config.ruleset) {
        let user = config.user.as_deref().unwrap_or("this user");
        tracing::warn!(%error, user, "the ruleset cannot be read any more: reloads will be refused");
    }
}

/// Workers and what belongs to them, from ports that are open. What `run` and tests share.
///
/// # Errors
/// If the system has no random numbers or no threads.
pub fn assemble(
    config: Config,
    policy: Arc<Policy>,
    ports: Vec<Box<dyn Port>>,
    backend: String,
    log: Option<(FlowLog, Writer)>,
) -> Result<(Arc<Instance>, Threads), StartError> {
    let clock = Clock::start();
    let secret = secret()?;
    let count = ports.len();
    let limits = config.limits.share(count);
    let (log, writer) = log.map_or((None, None), |(log, writer)| (Some(log), Some(writer)));
    let (teachers, lessons): (Vec<_>, Vec<_>) = (0..count).map(|_| bounded(LESSONS_MAX)).unzip();
    let mut lessons = lessons.into_iter();
    let (mut handles, mut workers) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (number, port) in ports.into_iter().enumerate() {
        let Some(taught) = lessons.next() else { break };
        let others = teachers.iter().enumerate().filter(|(other, _)| *other != number);
        let others = others.map(|(_, teacher)| teacher.clone()).collect();
        let (sender, commands) = bounded(COMMANDS_MAX);
        let pulse = Arc::new(Pulse::new(clock));
        let mut engine =
            Engine::new(Arc::clone(&policy), limits.clone(), settings(&config), secret.clone())
                .with_bare_endpoint(config.endpoint);
        if let Some(gateways) = &config.gateways {
            engine = engine.with_gateways(Gateways::new(gateways));
        }
        handles.push(Handle { commands: sender, pulse: Arc::clone(&pulse) });
        let denied = Ring::new(config.denied_packets.div_ceil(count), config.denied_bytes);
        let log = log.clone();
        workers.push(Worker { port, engine, commands, pulse, clock, log, denied, others, taught });
    }
    let writer = writer.map(|writer| spawn("flow-log", move || writer.run())).transpose()?;
    let writer = log.clone().zip(writer);
    let mut running = Vec::with_capacity(count);
    for (number, worker) in workers.into_iter().enumerate() {
        running.push(spawn(&format!("worker-{number}"), move || work(number, worker))?);
    }
    let instance = Instance::new(config, clock, backend, policy, handles, log);
    Ok((Arc::new(instance), Threads { workers: running, writer }))
}

fn work(number: usize, worker: Worker) -> Result<(), PortError> {
    let result = worker.run();
    if let Err(error) = &result {
        tracing::error!(worker = number, %error, "a worker's port works no more");
    }
    result
}

fn settings(config: &Config) -> Settings {
    match config.port.mode {
        Mode::Inline => Settings::GWLB,
        // Mirrored packets may not have their checksums yet: offload comes behind the mirror.
        Mode::Passive => Settings {
            checksums: Checksums::Ignore,
            outer_udp: Checksums::Ignore,
            ..Settings::CAPTURE
        },
    }
}

/// A new key for the flow tables' hash, so that nobody can choose flows that collide.
fn secret() -> Result<Secret, StartError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|error| StartError::System("random numbers", error.to_string()))?;
    let number = u128::from_ne_bytes(bytes);
    Ok(Secret::new((number >> 64) as u64, number as u64))
}
