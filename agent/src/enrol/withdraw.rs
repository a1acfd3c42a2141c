//! Letting one pod go, in the order in which nothing that was to be encrypted gets out: what lets in;
//! the tunnel; what delivers to it, once nothing is on its way to it any more; the guard, once no
//! connection is left that it holds back; rules and routes; the record.

use tokio::task::block_in_place;

use super::{EnrolError, Enroller, Enrolment};
use crate::error::chain;
use crate::kernel::attach::PodLinks;
use crate::kernel::connections::{self, Which};
use crate::kernel::netns::PodNetns;

impl Enroller {
    /// After the pod is out of the maps. What fails leaves what comes after it as it is, guarded and
    /// written down: the next agent, or `waysteer cleanup`, may do better. Whether its programs are
    /// off.
    pub async fn withdraw(&self, enrolment: Enrolment) -> bool {
        let Enrolment {
            spec,
            netns,
            network: _,
            redirect,
            mut links,
            is_elder: _,
        } = enrolment;
        let uid = spec.uid;
        // Where the pod has ended nothing comes in any more.
        let close = || match netns.is_replaced() {
            true => Ok(()),
            false => {
                let _short = self.expediter.hold();
                links.detach_one("pod_ingress")
            }
        };
        if let Err(error) = block_in_place(close) {
            tracing::warn!(
                error = chain(&error),
                uid,
                "programs of the pod stay behind"
            );
        }
        // Connections that end by themselves meanwhile end well.
        self.tunnel.remove(&uid, netns.cookie()).await;
        // Also where links are only unpinned: the kernel then takes the programs off by itself, and
        // whoever wants to change a rule meanwhile, as we do next, waits for it.
        let _short = self.expediter.hold();
        match block_in_place(|| self.end_connections(&netns, links)) {
            Ok(0) => {}
            Ok(ended) => tracing::info!(uid, ended, "open connections of the pod ended"),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    uid,
                    error,
                    "the pod is no longer enrolled, and stays guarded"
                );
                return false;
            }
        }
        match block_in_place(|| redirect.remove(&netns)) {
            Ok(()) => self.forget(netns.cookie()),
            Err(error) => {
                tracing::warn!(error = chain(&error), uid, "rules of the pod stay behind");
            }
        }
        true
    }

    /// With the programs that are left.
    fn end_connections(&self, netns: &PodNetns, mut links: PodLinks) -> Result<usize, EnrolError> {
        let verdicts = self.programs().verdicts()?;
        let end = |which| netns.run(|| connections::end_here(&verdicts, which));
        if netns.is_replaced() {
            // Taking a program off waits for all processors to pass by. Where the pod has ended,
            // nobody is there to see when it is off, and the kernel does it by itself.
            let ended = end(Which::All)??;
            links.let_go()?;
            return Ok(ended);
        }
        // A SYN that is still sent again would reach the pod's own listener.
        let steered = end(Which::Steered)??;
        links.detach_one("lo_ingress")?;
        let rest = end(Which::All)??;
        links.detach()?;
        Ok(steered + rest)
    }
}
