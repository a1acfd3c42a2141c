//! Putting the programs to work, by links: what is attached ends with its link, and nothing of
//! anybody else's is ever touched.
//!
//! In a pod's netns our programs come first. A tcx program before us that returns a final verdict
//! would hide its packets from us: on ingress from the tunnel, and on egress from the guard, which
//! is there so that nothing leaves by mistake. The guard does not need to see others' marks: it
//! goes by what our own programs decided about the socket. All of ours return "next" for what is
//! not theirs, so those that follow lose nothing.

mod error;

use std::fs::File;
use std::path::Path;

use aya::Ebpf;
use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::sock_ops::SockOpsLink;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, LinkOrder, ProgramError, SchedClassifier, SockOps,
    TcAttachType,
};

pub use self::error::{AttachError, LinkDrift, LinkProblem};
use super::load::Programs;
use super::netns::{PodNetns, PodNetwork, run_in_new_netns};

const LOOPBACK: &str = "lo";

/// `connect4`, `connect6` and `sock_ops` on a cgroup; dropping it takes them off.
#[derive(Debug)]
pub struct CgroupLinks {
    _connect: [CgroupSockAddrLink; 2],
    _sock_ops: SockOpsLink,
}

/// The programs in one netns; dropping it takes them off.
#[derive(Debug)]
pub struct PodLinks {
    links: Vec<PodLink>,
}

#[derive(Debug)]
struct PodLink {
    device: String,
    program: &'static str,
    program_id: u32,
    direction: TcAttachType,
    _link: SchedClassifierLink,
}

impl Programs {
    /// Attaches to the cgroup at `path`, and so to all below it.
    pub fn attach_cgroup(&mut self, path: &Path) -> Result<CgroupLinks, AttachError> {
        let cgroup = File::open(path).map_err(|source| AttachError::Cgroup {
            path: path.to_owned(),
            source,
        })?;
        // From the observer to the actors: a flow that is judged is also seen.
        let sock_ops = attach_sock_ops(&mut self.ebpf, &cgroup)?;
        let connect4 = attach_connect(&mut self.ebpf, "connect4", &cgroup)?;
        let connect6 = attach_connect(&mut self.ebpf, "connect6", &cgroup)?;
        Ok(CgroupLinks {
            _connect: [connect4, connect6],
            _sock_ops: sock_ops,
        })
    }

    /// Attaches to `lo` and to all devices of a netns, or, after an error, to none. Blocks, see
    /// [`PodNetns::run`].
    pub fn attach_pod(
        &mut self,
        netns: &PodNetns,
        network: &PodNetwork,
    ) -> Result<PodLinks, AttachError> {
        let ebpf = &mut self.ebpf;
        netns.run(move || {
            let mut links = vec![attach_tcx(
                ebpf,
                "lo_ingress",
                LOOPBACK,
                TcAttachType::Ingress,
            )?];
            for device in &network.devices {
                let name = &device.name;
                // The guard first: what is let in may be answered.
                links.push(attach_tcx(ebpf, "pod_egress", name, TcAttachType::Egress)?);
                links.push(attach_tcx(
                    ebpf,
                    "pod_ingress",
                    name,
                    TcAttachType::Ingress,
                )?);
            }
            Ok(PodLinks { links })
        })?
    }

    /// Attaches to a netns of its own, and detaches again.
    pub fn try_tcx(&mut self) -> Result<(), AttachError> {
        let ebpf = &mut self.ebpf;
        run_in_new_netns(move || {
            attach_tcx(ebpf, "lo_ingress", LOOPBACK, TcAttachType::Ingress).map(drop)
        })?
    }
}

impl PodLinks {
    /// Which programs are not attached, or not first. Blocks, see [`PodNetns::run`].
    pub fn verify(&self, netns: &PodNetns) -> Result<Vec<LinkDrift>, AttachError> {
        let drifts = netns.run(|| self.links.iter().filter_map(PodLink::drift).collect())?;
        Ok(drifts)
    }

    /// The devices that have programs, without `lo`.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let ingress = self
            .links
            .iter()
            .filter(|link| link.program == "pod_ingress");
        ingress.map(|link| link.device.as_str())
    }
}

impl PodLink {
    /// In the calling thread's netns.
    fn drift(&self) -> Option<LinkDrift> {
        let problem = match SchedClassifier::query_tcx(&self.device, self.direction) {
            Err(source) => LinkProblem::Unknown(source),
            Ok((_, programs)) => {
                match programs
                    .iter()
                    .position(|program| program.id() == self.program_id)
                {
                    Some(0) => return None,
                    Some(_) => LinkProblem::NotFirst,
                    None => LinkProblem::Detached,
                }
            }
        };
        Some(LinkDrift {
            device: self.device.clone(),
            program: self.program,
            problem,
        })
    }
}

fn attach_connect(
    ebpf: &mut Ebpf,
    program: &'static str,
    cgroup: &File,
) -> Result<CgroupSockAddrLink, AttachError> {
    let connect: &mut CgroupSockAddr = find(ebpf, program)?;
    // A link allows others beside it anyway, and before Linux 6.17 takes no flag that says so.
    let attached = connect.attach(cgroup, CgroupAttachMode::Single);
    let link = attached.and_then(|id| connect.take_link(id));
    link.map_err(|source| AttachError::refused(program, None, source))
}

fn attach_sock_ops(ebpf: &mut Ebpf, cgroup: &File) -> Result<SockOpsLink, AttachError> {
    let sock_ops: &mut SockOps = find(ebpf, "sock_ops")?;
    // As above.
    let attached = sock_ops.attach(cgroup, CgroupAttachMode::Single);
    let link = attached.and_then(|id| sock_ops.take_link(id));
    link.map_err(|source| AttachError::refused("sock_ops", None, source))
}

/// In the calling thread's netns.
fn attach_tcx(
    ebpf: &mut Ebpf,
    program: &'static str,
    device: &str,
    direction: TcAttachType,
) -> Result<PodLink, AttachError> {
    let classifier: &mut SchedClassifier = find(ebpf, program)?;
    let refused = |source| AttachError::refused(program, Some(device), source);
    let program_id = classifier.info().map_err(refused)?.id();
    // Always tcx: aya would never fall back to clsact, whose qdisc is not ours to touch.
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = classifier
        .attach_with_options(device, direction, order)
        .and_then(|id| classifier.take_link(id))
        .map_err(refused)?;
    Ok(PodLink {
        device: device.to_owned(),
        program,
        program_id,
        direction,
        _link: link,
    })
}

fn find<'a, P>(ebpf: &'a mut Ebpf, program: &'static str) -> Result<&'a mut P, AttachError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let found = ebpf
        .program_mut(program)
        .ok_or(AttachError::NoProgram { program })?;
    found
        .try_into()
        .map_err(|source| AttachError::refused(program, None, source))
}
