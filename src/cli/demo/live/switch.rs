//! What can be switched on and off while the demo runs.

use std::str::FromStr;

use crate::cli::demo::{flood::Flood, mesh::Mesh, plan::Service, registry::Bulkhead};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    StockFails,
    StockSlow,
    Flood,
    Bulkhead,
}

impl Switch {
    pub const ALL: [Self; 4] = [
        Self::StockFails,
        Self::StockSlow,
        Self::Flood,
        Self::Bulkhead,
    ];

    pub fn key(self) -> char {
        match self {
            Self::StockFails => 'f',
            Self::StockSlow => 's',
            Self::Flood => 'n',
            Self::Bulkhead => 'b',
        }
    }

    /// Also its name in a script, with dashes.
    pub fn label(self) -> &'static str {
        match self {
            Self::StockFails => "stock fails",
            Self::StockSlow => "stock is slow",
            Self::Flood => "noisy batch",
            Self::Bulkhead => "bulkhead per caller",
        }
    }

    fn script_name(self) -> &'static str {
        match self {
            Self::StockFails => "stock-fails",
            Self::StockSlow => "stock-slow",
            Self::Flood => "noisy-batch",
            Self::Bulkhead => "bulkhead",
        }
    }
}

pub fn by_key(key: char) -> Option<Switch> {
    Switch::ALL.into_iter().find(|switch| switch.key() == key)
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.map(Self::script_name);
        let found = Self::ALL
            .into_iter()
            .find(|switch| switch.script_name() == text);
        found.ok_or_else(|| format!("{text:?} is no switch: write one of {}", names.join(", ")))
    }
}

/// How the switches stand. All are off at first.
#[derive(Default)]
pub struct Switches {
    fails: bool,
    slow: bool,
    bulkhead: bool,
    flood: Option<Flood>,
}

impl Switches {
    pub fn is_on(&self, switch: Switch) -> bool {
        match switch {
            Switch::StockFails => self.fails,
            Switch::StockSlow => self.slow,
            Switch::Flood => self.flood.is_some(),
            Switch::Bulkhead => self.bulkhead,
        }
    }

    pub async fn toggle(&mut self, switch: Switch, mesh: &mut Mesh) -> anyhow::Result<()> {
        self.set(switch, !self.is_on(switch), mesh).await
    }

    pub async fn set(&mut self, switch: Switch, on: bool, mesh: &mut Mesh) -> anyhow::Result<()> {
        match switch {
            Switch::StockFails => self.fails = on,
            Switch::StockSlow => self.slow = on,
            Switch::Flood if on => return self.start_flood(mesh),
            Switch::Flood => return self.end_flood().await,
            Switch::Bulkhead => {
                self.bulkhead = on;
                return mesh.write_registry(if on { Bulkhead::On } else { Bulkhead::Off });
            }
        }
        let fault = [(self.fails, "status=500"), (self.slow, "delay=100ms")];
        let fault: Vec<&str> = fault
            .iter()
            .filter_map(|(on, part)| on.then_some(*part))
            .collect();
        mesh.fault(Service::Stock, &fault.join("&")).await
    }

    /// Leaves nothing running.
    pub async fn end(&mut self, mesh: &mut Mesh) -> anyhow::Result<()> {
        // Another application than the sample app need not know of faults.
        if self.fails || self.slow {
            mesh.fault(Service::Stock, "").await?;
        }
        self.end_flood().await
    }

    fn start_flood(&mut self, mesh: &Mesh) -> anyhow::Result<()> {
        if self.flood.is_none() {
            self.flood = Some(Flood::start(mesh)?);
        }
        Ok(())
    }

    async fn end_flood(&mut self) -> anyhow::Result<()> {
        if let Some(flood) = self.flood.take() {
            flood.stop().await?;
        }
        Ok(())
    }
}
