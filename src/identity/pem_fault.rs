//! What is wrong with a text that should be PEM, without the text: rustls's own words quote it, and
//! it may be a key.

use rustls::pki_types::pem::Error;

pub(crate) fn describe(error: &Error) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => "a section has no END line",
        Error::IllegalSectionStart { .. } => "a BEGIN line does not end where it should",
        Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        Error::NoItemsFound => "nothing of the kind is in it",
        _ => "it cannot be read",
    }
}
