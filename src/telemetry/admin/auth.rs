//! Who may change state through the admin port: who shows the token from the token file.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, header::AUTHORIZATION};

use crate::host;

/// A shorter token could be guessed; a longer one is a wrong file.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=4096;
/// The largest token file that is read: a token, and blanks round it.
const MAX_FILE: u64 = 64 << 10;

pub(super) enum Verdict {
    Allowed,
    /// No token, or another one.
    Unauthorized,
    /// No token can open this port as it is configured, and why.
    Forbidden(String),
}

pub(super) async fn check(headers: &HeaderMap, token_file: Option<&Path>) -> Verdict {
    let Some(path) = token_file else {
        let why = "no admin token file is configured, so nothing can be changed through this port: configure one, or send the process SIGTERM to drain it\n";
        return Verdict::Forbidden(why.into());
    };
    let token = match read_token(path).await {
        Ok(token) => token,
        Err(why) => {
            log_useless(path, &why);
            return Verdict::Forbidden(format!("the admin token file is of no use: {why}\n"));
        }
    };
    let shown = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    // Differs in time by the token's length at most, which is no secret.
    match shown.is_some_and(|shown| verify_slices_are_equal(shown, &token).is_ok()) {
        true => Verdict::Allowed,
        false => Verdict::Unauthorized,
    }
}

/// Says so in the log if the file is of no use yet: it may be mended while this process runs.
pub(super) async fn look_at(token_file: &Path) {
    if let Err(why) = read_token(token_file).await {
        log_useless(token_file, &why);
    }
}

fn log_useless(path: &Path, why: &str) {
    tracing::error!(path = %path.display(), why, "the admin token file is of no use");
}

async fn read_token(path: &Path) -> Result<Vec<u8>, String> {
    let path = path.to_owned();
    let read = host::blocking(move || host::file::read(&path, MAX_FILE)).await;
    let bytes = read.map_err(|error| error.to_string())?;
    let token = bytes.trim_ascii();
    match TOKEN_BYTES.contains(&token.len()) {
        true => Ok(token.to_vec()),
        false => Err(format!(
            "a token has {} to {} bytes, this file has another number",
            TOKEN_BYTES.start(),
            TOKEN_BYTES.end()
        )),
    }
}
