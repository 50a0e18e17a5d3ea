//! What the processor says of itself where no file of the system does (x86; Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

/// Identity of the processor, and what runs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CpuId {
    pub vendor: String,
    pub family: u32,
    pub model: u32,
    pub stepping: u32,
    /// Whose guest this system is, as a hypervisor names itself; `None`: nobody's.
    pub hypervisor: Option<String>,
}

impl CpuId {
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn probe() -> Option<Self> {
        let leaf = |number: u32| {
            #[allow(unused_unsafe)] // in newer compilers the function is safe
            // SAFETY: every x86-64 has the instruction; what it does not know it answers with zeroes or with another leaf.
            let found = unsafe { std::arch::x86_64::__cpuid(number) };
            [found.eax, found.ebx, found.ecx, found.edx]
        };
        Self::of(leaf)
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn probe() -> Option<Self> {
        None
    }

    /// From the four registers that each leaf fills.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    fn of(leaf: impl Fn(u32) -> [u32; 4]) -> Option<Self> {
        let [_, b, c, d] = leaf(0);
        let vendor = text(&[b, d, c])?;
        let [signature, _, features, _] = leaf(1);
        let (family, model) = (signature >> 8 & 0xf, signature >> 4 & 0xf);
        let extended_model = signature >> 16 & 0xf;
        Some(Self {
            vendor,
            family: match family {
                0xf => family + (signature >> 20 & 0xff),
                _ => family,
            },
            model: match family {
                0x6 | 0xf => extended_model << 4 | model,
                _ => model,
            },
            stepping: signature & 0xf,
            hypervisor: (features >> 31 & 1 == 1)
                .then(|| hypervisor(&leaf))
                .flatten(),
        })
    }

    /// A word for the hypervisors that there are much.
    pub(crate) fn hypervisor_kind(&self) -> Option<String> {
        let name = self.hypervisor.as_deref()?;
        Some(
            match name {
                "KVMKVMKVM" => "KVM",
                "Microsoft Hv" => "Hyper-V",
                "VMwareVMware" => "VMware",
                "XenVMMXenVMM" => "Xen",
                other => other,
            }
            .to_owned(),
        )
    }
}

/// Windows with Hyper-V, which its protection of the kernel uses on most laptops, is Hyper-V's own first partition: it may make others,
/// and is no guest (Hyper-V TLFS, leaf 0x40000003, CreatePartitions).
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn hypervisor(leaf: &impl Fn(u32) -> [u32; 4]) -> Option<String> {
    let [_, b, c, d] = leaf(0x4000_0000);
    let name = text(&[b, c, d]).unwrap_or_else(|| "unknown".to_owned());
    let may_create = leaf(0x4000_0003)[1] & 1 == 1;
    (name != "Microsoft Hv" || !may_create).then_some(name)
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn text(registers: &[u32]) -> Option<String> {
    let bytes: Vec<u8> = registers.iter().flat_map(|r| r.to_le_bytes()).collect();
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim_matches(['\0', ' ']);
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(text: &[u8; 12]) -> [u32; 3] {
        let word = |at: usize| u32::from_le_bytes(text[at..at + 4].try_into().expect("four"));
        [word(0), word(4), word(8)]
    }

    fn laptop(is_root: bool, hypervisor: Option<&[u8; 12]>) -> CpuId {
        let [b, d, c] = registers(b"GenuineIntel");
        CpuId::of(|leaf| match leaf {
            0 => [0x20, b, c, d],
            // An i7-13700H.
            1 => [0xb06a2, 0, u32::from(hypervisor.is_some()) << 31, 0],
            0x4000_0000 => {
                let [b, c, d] = registers(hypervisor.unwrap_or(&[0; 12]));
                [0x4000_0006, b, c, d]
            }
            0x4000_0003 => [0, u32::from(is_root), 0, 0],
            _ => [0; 4],
        })
        .expect("a vendor")
    }

    #[test]
    fn a_laptop_says_what_it_is() {
        let found = laptop(false, None);
        assert_eq!(found.vendor, "GenuineIntel");
        assert_eq!((found.family, found.model, found.stepping), (6, 186, 2));
        assert_eq!(found.hypervisor_kind(), None);
        assert_eq!(CpuId::of(|_| [0; 4]), None);
    }

    #[test]
    fn this_processor_says_what_it_is() {
        let found = CpuId::probe();
        assert_eq!(found.is_some(), cfg!(target_arch = "x86_64"));
        assert!(found.is_none_or(|id| id.family > 0 && id.vendor.is_ascii()));
    }

    #[test]
    fn only_guests_are_virtual_machines() {
        let kind = |is_root, name| laptop(is_root, Some(name)).hypervisor_kind();
        assert_eq!(kind(true, b"Microsoft Hv"), None);
        assert_eq!(kind(false, b"Microsoft Hv").as_deref(), Some("Hyper-V"));
        assert_eq!(kind(true, b"KVMKVMKVM\0\0\0").as_deref(), Some("KVM"));
        assert_eq!(kind(false, &[0; 12]).as_deref(), Some("unknown"));
    }
}
