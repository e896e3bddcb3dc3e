//! Why the API server takes no pod: told apart by its words, which are all that it gives.

/// What refused a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// Nobody answered for a webhook.
    WebhookAway,
    /// Our webhook, because of an annotation.
    Annotation,
    /// Another webhook, or a policy engine.
    OtherWebhook,
    /// A level of the Pod Security Standards.
    PodSecurity,
    Quota,
    Other,
}

impl Refuser {
    /// By the message of the API server's answer, of an event or of a condition.
    pub fn of(message: &str) -> Self {
        let has = |words: &str| message.contains(words);
        match () {
            () if has("failed calling webhook") => Self::WebhookAway,
            () if has("admission webhook") && has("outrigger.dev\" denied") => Self::Annotation,
            () if has("admission webhook") && has("denied the request") => Self::OtherWebhook,
            () if has("violates PodSecurity") => Self::PodSecurity,
            () if has("exceeded quota") => Self::Quota,
            () => Self::Other,
        }
    }

    pub fn advice(self) -> &'static str {
        match self {
            Self::WebhookAway => {
                "No controller answers the API server: `outrigger check` says why. To create pods meanwhile, label the namespace outrigger.dev/webhook=disabled."
            }
            Self::Annotation => {
                "Correct what the message names, in the pod template or on the namespace: docs/injection.md#annotations has the values."
            }
            Self::OtherWebhook => {
                "The webhook that the message names refuses it: ask whoever runs that."
            }
            Self::PodSecurity => {
                "The init container needs NET_ADMIN, which only the privileged level has: label the namespace pod-security.kubernetes.io/enforce=privileged, and audit and warn at restricted."
            }
            Self::Quota => "Raise the namespace's quota; a proxy's requests and limits count too.",
            Self::Other => "Correct what the message names.",
        }
    }
}

/// What to do about a pod that is refused with this message.
pub fn advice_on_refusal(message: &str) -> &'static str {
    Refuser::of(message).advice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_refuses_a_pod() {
        let cases = [
            (
                "Internal error occurred: failed calling webhook \"injector.outrigger.dev\": no endpoints available",
                Refuser::WebhookAway,
            ),
            (
                "admission webhook \"injector.outrigger.dev\" denied the request: the namespace's annotation outrigger.dev/inject",
                Refuser::Annotation,
            ),
            (
                "admission webhook \"validate.kyverno.svc\" denied the request: no",
                Refuser::OtherWebhook,
            ),
            (
                "pods \"x\" is forbidden: violates PodSecurity \"baseline:latest\": non-default capabilities",
                Refuser::PodSecurity,
            ),
            ("pods \"x\" is forbidden: exceeded quota: q", Refuser::Quota),
            ("serviceaccount \"x\" not found", Refuser::Other),
        ];
        for (message, expected) in cases {
            assert_eq!(Refuser::of(message), expected, "{message}");
            assert!(advice_on_refusal(message).ends_with('.'));
        }
    }
}
