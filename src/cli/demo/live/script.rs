//! Switches thrown by a script: one line each, `TIME SWITCH on|off`, as in `5s stock-fails on`.

use std::{collections::VecDeque, str::FromStr, time::Duration};

use super::switch::Switch;
use crate::units::duration;

/// What is still to come, earliest first.
#[derive(Debug, Default, PartialEq)]
pub struct Script(VecDeque<(Duration, Switch, bool)>);

/// Why a text is not a script.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}; a line is TIME SWITCH on|off, for example: 5s stock-fails on")]
pub struct InvalidScript {
    line: usize,
    reason: String,
}

impl Script {
    /// Takes the next switch whose time, counted from the start, has come.
    pub fn due(&mut self, now: Duration) -> Option<(Switch, bool)> {
        self.0.front().filter(|(at, ..)| *at <= now)?;
        let (_, switch, on) = self.0.pop_front()?;
        Some((switch, on))
    }
}

impl FromStr for Script {
    type Err = InvalidScript;

    /// Empty lines and what follows a `#` are passed over.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut steps = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                steps.push(step(&words).map_err(|reason| InvalidScript {
                    line: number + 1,
                    reason,
                })?);
            }
        }
        steps.sort_by_key(|(at, ..)| *at);
        Ok(Self(steps.into()))
    }
}

fn step(words: &[&str]) -> Result<(Duration, Switch, bool), String> {
    let [at, switch, position] = words else {
        return Err(format!("it has {} words, not three", words.len()));
    };
    let on = match *position {
        "on" => true,
        "off" => false,
        other => return Err(format!("{other:?} is neither on nor off")),
    };
    Ok((duration::parse(at)?, switch.parse()?, on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_when_they_are_due() {
        let mut script: Script = "# a comment\n5s stock-fails off\n\n2s stock-fails on # soon\n"
            .parse()
            .unwrap();
        assert_eq!(script.due(Duration::from_secs(1)), None);
        assert_eq!(
            script.due(Duration::from_secs(6)),
            Some((Switch::StockFails, true))
        );
        assert_eq!(
            script.due(Duration::from_secs(6)),
            Some((Switch::StockFails, false))
        );
        assert_eq!(script.due(Duration::from_secs(6)), None);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for text in [
            "5s",
            "5s stock on",
            "soon stock-fails on",
            "5s stock-fails maybe",
        ] {
            let error = format!("\n{text}")
                .parse::<Script>()
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
