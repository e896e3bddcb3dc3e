//! What went wrong between this command and the API server, in words that say what to do.

use kube::{Api, Error, api::ListParams};

/// A fact, or why it could not be had.
pub type Fact<T> = Result<T, String>;

/// All objects of a kind, or why they cannot be had.
///
/// # Errors
/// The reason, in one line.
pub async fn list<K>(api: Api<K>, params: ListParams) -> Fact<Vec<K>>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let listed = api.list(&params).await;
    listed.map(|all| all.items).map_err(|error| explain(&error))
}

/// One line: the API server's own words where it answered, else why it could not be asked.
pub fn explain(error: &Error) -> String {
    match error {
        Error::Api(status) => match status.code {
            401 => format!(
                "the API server does not know who asks (401): renew the credentials of this kubeconfig context ({})",
                status.message
            ),
            403 => format!("not allowed: {}", status.message),
            _ => status.message.clone(),
        },
        Error::Auth(error) => {
            format!("the credentials of this kubeconfig context are of no use: {error}")
        }
        Error::HyperError(_) | Error::Service(_) => format!(
            "the API server cannot be reached: look at the kubeconfig's context, or at your network ({})",
            innermost(error)
        ),
        other => innermost(other),
    }
}

/// The cause that is closest to the facts; the wrappers above it only repeat it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_answer_of_the_server_is_told_in_its_own_words() {
        let refused = |code| {
            let status = Status::failure("pods is forbidden", "x").with_code(code);
            explain(&Error::Api(Box::new(status)))
        };
        assert_eq!(refused(403), "not allowed: pods is forbidden");
        assert!(refused(401).contains("renew the credentials"));
        assert_eq!(refused(500), "pods is forbidden");
    }

    #[test]
    fn a_server_out_of_reach_is_told_by_the_innermost_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let told = explain(&Error::Service(Box::new(refused)));
        assert!(told.contains("cannot be reached"), "{told}");
        assert!(told.contains("connection refused"), "{told}");
    }
}
