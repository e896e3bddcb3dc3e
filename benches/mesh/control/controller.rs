//! The controller's process, from the outside.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{ChildStdin, ChildStdout, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use outrigger::{
    discovery::{self, CONTROLLER_NAMESPACE, Certifier, ClientOptions, controller_id},
    identity::IdentityStore,
};

use crate::{
    process::{Process, free_address},
    setup::{Files, Place, Topology, Traffic},
};

/// Services, and pods of each.
pub type Size = (usize, usize);

/// What was changed.
pub struct Changed {
    pub generation: u32,
    /// When the last change was made, in nanoseconds of the monotonic clock.
    pub at: u64,
    /// What all of them took of the controller.
    pub cpu: Duration,
}

pub struct Controller<'a> {
    pub place: &'a Place<'a>,
    files: Files<'a>,
    size: Size,
    generation: u32,
    pub process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub mesh: Mesh,
}

/// Where the two proxies of its mesh are to listen.
pub struct Mesh {
    pub topology: Topology,
    pub entry: SocketAddr,
    pub between: SocketAddr,
    pub origin: SocketAddr,
}

impl<'a> Controller<'a> {
    /// Returns when it serves.
    pub fn start(place: &'a Place<'a>, size: Size) -> anyhow::Result<Self> {
        let files = Files::new(place)?;
        let mesh = Mesh {
            topology: Topology::two_hops(Traffic::Http1),
            entry: free_address()?,
            between: free_address()?,
            origin: place.bench.origins.http1,
        };
        files.write_registry(&mesh.topology, mesh.between, mesh.origin)?;
        let (process, input, output) = launch(place, &files, size, 0)?;
        Ok(Self {
            place,
            files,
            size,
            generation: 0,
            process,
            input,
            output,
            mesh,
        })
    }

    /// Kills it and starts another on the same port, in whose cluster the endpoints have moved once
    /// more. Returns when that serves.
    pub fn restart(&mut self) -> anyhow::Result<Instant> {
        self.generation += 1;
        self.process.kill();
        let (process, input, output) = launch(self.place, &self.files, self.size, self.generation)?;
        (self.process, self.input, self.output) = (process, input, output);
        Ok(Instant::now())
    }

    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Moves endpoints: of the first service, or of all services from `first` on in turn.
    pub fn change(
        &mut self,
        first: usize,
        times: usize,
        pause: Duration,
    ) -> anyhow::Result<Changed> {
        writeln!(self.input, "{first} {times} {}", pause.as_micros())?;
        let line = line(&mut self.output)?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [generation, at, cpu] = numbers[..] else {
            anyhow::bail!("the controller said {line:?}");
        };
        self.generation = generation.try_into()?;
        Ok(Changed {
            generation: self.generation,
            at,
            cpu: Duration::from_nanos(cpu),
        })
    }

    /// Starts the two proxies of its mesh.
    pub fn proxies(&self) -> anyhow::Result<Vec<Process>> {
        let Mesh {
            topology,
            entry,
            between,
            origin,
        } = &self.mesh;
        self.files.proxies(topology, *entry, *between, *origin)
    }

    /// How proxies follow it, with a certificate that all of them share.
    pub async fn client_options(&self) -> anyhow::Result<ClientOptions> {
        let controller = discovery::Controller {
            address: self.files.controller.to_string(),
            identity: controller_id("bench.test", CONTROLLER_NAMESPACE)?,
            mark: None,
        };
        let certifier = Certifier {
            controller: controller.clone(),
            token_file: self.files.token_file("client"),
            roots_file: self.files.root(),
            identity: IdentityStore::new(),
            keep_dir: None,
        };
        certifier.certify().await?;
        Ok(ClientOptions::new(controller, certifier.identity, "fleet"))
    }
}

type Launched = (Process, ChildStdin, BufReader<ChildStdout>);

fn launch(place: &Place, files: &Files, size: Size, generation: u32) -> anyhow::Result<Launched> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg("controller")
        .arg(files.registry())
        .arg(files.ca_dir());
    command.arg(files.controller.to_string());
    command.args([
        size.0.to_string(),
        size.1.to_string(),
        generation.to_string(),
    ]);
    let log = place.path(&format!("controller-{generation}.log"));
    let (process, input, output) = Process::start_with_pipes(&mut command, &log)?;
    let mut output = BufReader::new(output);
    let ready = line(&mut output).with_context(|| place.logs())?;
    ensure!(ready == "ready", "the controller said {ready:?}");
    Ok((process, input, output))
}

/// Blocks; the process that it comes from is bounded by what it was told to do.
fn line(output: &mut BufReader<ChildStdout>) -> anyhow::Result<String> {
    let mut line = String::new();
    let read = output.read_line(&mut line)?;
    ensure!(read > 0, "the controller has ended");
    Ok(line.trim_end().to_owned())
}
