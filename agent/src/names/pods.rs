//! Pods as people ask for them.

/// Whatever is said of a pod, by whomever.
pub trait PodNames {
    fn uid(&self) -> &str;
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;

    /// `NAMESPACE/NAME`.
    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }
}

/// For structures with fields of these names.
macro_rules! named {
    ($pod:ty) => {
        impl $crate::names::pods::PodNames for $pod {
            fn uid(&self) -> &str {
                &self.uid
            }

            fn namespace(&self) -> &str {
                &self.namespace
            }

            fn name(&self) -> &str {
                &self.name
            }
        }
    };
}
pub(crate) use named;

/// With its netns cookie.
impl<P: PodNames> PodNames for (u64, P) {
    fn uid(&self) -> &str {
        self.1.uid()
    }

    fn namespace(&self) -> &str {
        self.1.namespace()
    }

    fn name(&self) -> &str {
        self.1.name()
    }
}

/// No pod is meant, or more than one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not one pod is called {asked}; there are: {}", known.join(", "))]
pub struct NotOnePod {
    asked: String,
    known: Vec<String>,
}

/// By `NAMESPACE/NAME` or a uid, else by a name that is there once.
///
/// # Errors
/// When there is no such pod, or a name is another one's too.
pub fn find<'a, P: PodNames>(pods: &'a [P], asked: &str) -> Result<&'a P, NotOnePod> {
    let is_it = |pod: &&P| pod.full_name() == asked || pod.uid() == asked;
    if let Some(pod) = pods.iter().find(is_it) {
        return Ok(pod);
    }
    let mut named = pods.iter().filter(|pod| pod.name() == asked);
    match (named.next(), named.next()) {
        (Some(pod), None) => Ok(pod),
        _ => Err(NotOnePod {
            asked: asked.to_owned(),
            known: pods.iter().map(P::full_name).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pod {
        uid: &'static str,
        namespace: &'static str,
        name: &'static str,
    }
    named!(Pod);

    #[test]
    fn what_is_exact_goes_before_a_name_which_must_be_one_pods() {
        let pod = |uid, namespace, name| Pod {
            uid,
            namespace,
            name,
        };
        let pods = [
            pod("u1", "shop", "web"),
            pod("u2", "other", "web"),
            pod("u3", "shop", "cart"),
            // Somebody has called it as another one is.
            pod("cart", "shop", "till"),
        ];
        let uid = |asked| find(&pods, asked).map(|pod| pod.uid);
        for (asked, is) in [
            ("shop/web", "u1"),
            ("other/web", "u2"),
            ("u2", "u2"),
            ("cart", "cart"),
            ("till", "cart"),
        ] {
            assert_eq!(uid(asked), Ok(is), "{asked}");
        }
        for asked in ["web", "we", "", "shop/", "u4"] {
            let error = uid(asked).expect_err(asked).to_string();
            let all = "shop/web, other/web, shop/cart, shop/till";
            let expected = format!("not one pod is called {asked}; there are: {all}");
            assert_eq!(error, expected);
        }
    }
}
