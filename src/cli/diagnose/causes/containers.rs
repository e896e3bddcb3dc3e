//! What the kubelet says of the pod's containers.

use std::time::Duration;

use super::{Cause, Likely, cause};
use crate::{
    cli::{
        cluster::{PROXY, age},
        diagnose::facts::{Container, Facts, INIT},
    },
    proxy::belief::unix_seconds,
};

/// An end that is no longer ago than this, in seconds, has to do with what fails now.
const RECENT: u64 = 3_600;
/// Further restarts than this are told of even when they are long ago and were in order.
const MANY_RESTARTS: i32 = 3;

pub fn containers(facts: &Facts, causes: &mut Vec<Cause>) {
    for container in &facts.containers {
        let looked = Looked { facts, container };
        match looked.stopped() {
            Some(stopped) => causes.push(stopped),
            None => {
                causes.extend(looked.restarted());
                causes.extend(looked.not_ready());
            }
        }
    }
    if facts.phase == "Pending" && facts.containers.is_empty() {
        causes.push(not_started(facts));
    }
}

fn not_started(facts: &Facts) -> Cause {
    let (namespace, pod) = facts.pod.split_once('/').unwrap_or(("", &facts.pod));
    let told = facts.events.iter().flatten().find(|event| event.warning);
    let what = told.map_or("nothing says why", |event| event.message.as_str());
    cause(
        Likely::Surely,
        format!("It has not started: {what}"),
        format!("`kubectl describe pod -n {namespace} {pod}` shows its scheduling and volumes."),
    )
}

struct Looked<'a> {
    facts: &'a Facts,
    container: &'a Container,
}

impl Looked<'_> {
    fn what(&self, how: &str) -> String {
        let name = self.container.name.as_str();
        let whose = match name {
            PROXY => "The proxy",
            INIT => "The init container that writes the interception rules",
            _ if self.container.init => "The init container",
            _ => "The application's container",
        };
        format!("{whose} {name} {how}")
    }

    fn logs(&self, more: &str) -> String {
        let (namespace, pod) = self
            .facts
            .pod
            .split_once('/')
            .unwrap_or(("", &self.facts.pod));
        format!(
            "`kubectl logs -n {namespace} {pod} -c {}{more}` says why.",
            self.container.name
        )
    }

    /// How long ago it last ended, in seconds; `None` where that is not known.
    fn ended(&self) -> Option<u64> {
        let at = self.container.ended_at?;
        Some(unix_seconds(self.facts.now).saturating_sub(at))
    }

    fn recently(&self) -> bool {
        self.ended().is_none_or(|ago| ago <= RECENT)
    }

    /// Why it does not run, or is sure not to for long.
    fn stopped(&self) -> Option<Cause> {
        let Container {
            name,
            state,
            before,
            exit_code,
            ..
        } = self.container;
        let killed = |how: &str| how.contains("OOMKilled");
        if killed(state) || (before.as_deref().is_some_and(killed) && self.recently()) {
            let next = match name.as_str() {
                PROXY => "Raise outrigger.dev/proxy-memory-limit on the pod template.",
                _ => "Raise its memory limit, or find out what it keeps.",
            };
            let what = self.what("ran out of memory and was killed");
            return Some(cause(Likely::Surely, what, next));
        }
        if let Some(reason) = state.strip_prefix("waiting: ") {
            return self.waits(reason);
        }
        if !state.starts_with("terminated") || *exit_code == Some(0) {
            return None;
        }
        let next = match name.as_str() {
            INIT => "The node's kernel may lack nf_tables, or something takes NET_ADMIN away: `outrigger check --pre -n NAMESPACE` tries it.".to_owned(),
            _ => self.logs(""),
        };
        Some(cause(
            Likely::Surely,
            self.what(&format!("failed ({state})")),
            next,
        ))
    }

    /// What a reason for waiting asks for; none for those that pass by themselves.
    fn waits(&self, reason: &str) -> Option<Cause> {
        let next = match reason {
            "PodInitializing" | "ContainerCreating" => return None,
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                match self.container.name.as_str() {
                    PROXY | INIT => "Correct the chart's value image, or give injected pods a pull secret (proxy.pullSecrets); the registry must be reachable from the node.".to_owned(),
                    _ => "Correct the image's name or tag in the pod template, or give it an imagePullSecret; the registry must be reachable from the node.".to_owned(),
                }
            }
            "CreateContainerConfigError" => "Create the ConfigMap, the Secret or the key that it names, or correct the reference in the pod template.".to_owned(),
            "CreateContainerError" | "RunContainerError" | "StartError" => "Correct its command, its volumes or its security context in the pod template: the container's runtime refuses it.".to_owned(),
            _ => self.logs(" --previous"),
        };
        let message = self.container.message.as_deref();
        let message = message.map(|message| format!(": {message}"));
        let before = self.container.before.as_deref();
        let before = before.map(|before| format!(" ({before})"));
        let how = format!(
            "does not start: {reason}{}{}",
            before.unwrap_or_default(),
            message.unwrap_or_default()
        );
        Some(cause(Likely::Surely, self.what(&how), next))
    }

    /// It runs again, but has ended before.
    fn restarted(&self) -> Option<Cause> {
        let Container {
            restarts, before, ..
        } = self.container;
        let failed = self.container.exit_code.is_some_and(|code| code != 0);
        let recent = self.ended().is_some() && self.recently();
        if *restarts == 0 || !(recent || failed || *restarts > MANY_RESTARTS) {
            return None;
        }
        let likely = match recent {
            true if failed && !self.container.ready => Likely::Surely,
            true => Likely::Probably,
            false => Likely::Earlier,
        };
        let times = match restarts {
            1 => "once".to_owned(),
            n => format!("{n} times"),
        };
        let last = self
            .ended()
            .map(|ago| format!(", last {} ago", age(Duration::from_secs(ago))));
        let how = before.as_deref().unwrap_or("for no known reason");
        let what = format!("was restarted {times}{} ({how})", last.unwrap_or_default());
        Some(cause(likely, self.what(&what), self.logs(" --previous")))
    }

    fn not_ready(&self) -> Option<Cause> {
        let Container {
            name,
            state,
            ready,
            init,
            ..
        } = self.container;
        if *ready || state != "running" || name == PROXY {
            return None;
        }
        if *init {
            return Some(cause(
                Likely::Probably,
                self.what("still runs: the application starts when it has ended"),
                format!(
                    "{} One that waits for the network: docs/injection.md#init-containers-that-need-the-network.",
                    self.logs("")
                        .replace(" says why.", " says what it waits for.")
                ),
            ));
        }
        Some(cause(
            Likely::Probably,
            self.what("runs but is not ready, so no Service sends anything to the pod"),
            "Look at its readiness probe and its log.",
        ))
    }
}

#[cfg(test)]
#[path = "containers_tests.rs"]
mod tests;
