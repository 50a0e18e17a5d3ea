//! Where layers are offloaded to: RPC servers, devices by name, and the devices' shares. Each value is a list, typed as llama.cpp's
//! own tools have it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::PlanError;
use super::values::{AxisValue, each};

/// Most RPC servers of a process (`GGML_RPC_MAX_SERVERS`), and most devices of a model but one, whose place the binding's list
/// needs for its end (`llama_max_devices`).
const MOST: usize = 15;

/// llama.cpp RPC servers whose devices the engine has besides its own: `host:port,host:port`, or `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RpcServers(Vec<String>);

impl RpcServers {
    /// The servers' addresses, `host:port` each.
    pub fn endpoints(&self) -> &[String] {
        &self.0
    }

    /// Whether there is no server.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for RpcServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list_or(f, &self.0, "none")
    }
}

impl FromStr for RpcServers {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "none" {
            return Ok(Self::default());
        }
        let servers = items(s)?;
        servers
            .iter()
            .try_for_each(|server| check_endpoint(server))?;
        Ok(Self(servers))
    }
}

/// The engine takes what stands before the first colon for an IPv4 address or a name.
fn check_endpoint(text: &str) -> Result<(), String> {
    let Some((host, port)) = text.split_once(':') else {
        return Err(format!(
            "'{text}' has no port; say host:port, such as 192.168.1.2:50052"
        ));
    };
    if host.is_empty() || port.contains(':') || host.contains(['/', '[']) {
        return Err(format!(
            "'{text}' is not host:port; the host is a name or an IPv4 address, such as 192.168.1.2:50052"
        ));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err(format!(
            "'{text}': '{port}' is not a port; a number from 1 to 65535"
        )),
    }
}

/// The devices that layers are offloaded to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Devices {
    /// As the engine chooses: RPC servers first, then its GPUs.
    #[default]
    Auto,
    /// None: the CPU computes alone.
    None,
    /// These, in this order, by their names.
    Named(Vec<String>),
}

impl Devices {
    /// Whether the engine chooses.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Named(names) => list_or(f, names, "none"),
        }
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            names => Ok(Self::Named(items(names)?)),
        }
    }
}

/// Shares of the model on each device, `3,1`, in the devices' order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TensorSplit(Vec<String>);

impl TensorSplit {
    /// Whether the engine divides by the devices' free memory.
    pub fn is_auto(&self) -> bool {
        self.0.is_empty()
    }

    /// The shares; none where the engine decides.
    pub fn shares(&self) -> impl ExactSizeIterator<Item = f32> {
        self.0.iter().map(|s| s.parse().unwrap_or(0.0))
    }
}

impl fmt::Display for TensorSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list_or(f, &self.0, "auto")
    }
}

impl FromStr for TensorSplit {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "auto" {
            return Ok(Self::default());
        }
        let shares: Vec<String> = s.split([',', '/']).map(|s| s.trim().to_owned()).collect();
        if shares.len() > MOST {
            return Err(format!("{} shares; at most {MOST}", shares.len()));
        }
        let mut sum = 0.0;
        for share in &shares {
            match share.parse::<f32>() {
                Ok(value) if value.is_finite() && value >= 0.0 => sum += value,
                _ => {
                    return Err(format!(
                        "'{share}' is not a share; numbers from 0 on, such as 3,1"
                    ));
                }
            }
        }
        if sum <= 0.0 {
            return Err(format!("'{s}' gives no device a share"));
        }
        Ok(Self(shares))
    }
}

/// The items of a list, none of them empty or twice.
fn items(text: &str) -> Result<Vec<String>, String> {
    let mut items: Vec<String> = Vec::new();
    for item in text.split(',').map(str::trim) {
        if item.is_empty() || ["none", "auto"].contains(&item) {
            return Err(format!("'{text}' is not a list of names; such as A,B"));
        }
        if items.iter().any(|known| known == item) {
            return Err(format!("'{item}' is named twice"));
        }
        items.push(item.to_owned());
    }
    if items.len() > MOST {
        return Err(format!("{} names; at most {MOST}", items.len()));
    }
    Ok(items)
}

fn list_or(f: &mut fmt::Formatter<'_>, list: &[String], empty: &str) -> fmt::Result {
    match list {
        [] => f.write_str(empty),
        list => f.write_str(&list.join(",")),
    }
}

/// Recorded as it is typed, and an axis whose values are lists.
macro_rules! as_text {
    ($($name:ident = $takes:literal),*) => {$(
        impl AxisValue for $name {
            const TAKES: &'static str = $takes;
            const IS_LIST: bool = true;

            fn read(key: &str, texts: &[String]) -> Result<Vec<Self>, PlanError> {
                each(key, texts.iter().map(String::as_str), str::parse)
            }

            fn schema() -> Value {
                json!({"type": "string"})
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text!(
    RpcServers = "HOST:PORT,...",
    Devices = "NAME,...",
    TensorSplit = "N,..."
);

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: FromStr<Err = String> + fmt::Debug>(cases: &[(&str, &str)]) {
        for (text, needle) in cases {
            let e = text.parse::<T>().expect_err(text);
            assert!(e.contains(needle), "{text}: {e}");
        }
    }

    #[test]
    fn servers_are_hosts_with_ports() {
        let servers: RpcServers = "127.0.0.1:50052, box:1".parse().expect("two");
        assert_eq!(servers.endpoints(), ["127.0.0.1:50052", "box:1"]);
        assert_eq!(servers.to_string(), "127.0.0.1:50052,box:1");
        assert_eq!("none".parse(), Ok(RpcServers::default()));
        wrong::<RpcServers>(&[
            ("", "not a list"),
            ("box", "has no port"),
            ("a:1,,b:2", "not a list"),
            ("a:1,a:1", "named twice"),
            ("box:0", "'0' is not a port"),
            ("box:65536", "not a port"),
            (":50052", "is not host:port"),
            ("[::1]:50052", "IPv4"),
            ("http://box:1", "is not host:port"),
            ("a:1,none", "not a list"),
        ]);
        let many: Vec<String> = (1..=16).map(|n| format!("a:{n}")).collect();
        wrong::<RpcServers>(&[(&many.join(","), "at most 15")]);
    }

    #[test]
    fn devices_are_names_or_a_word() {
        for text in ["auto", "none", "RPC0", "RPC0,CUDA1"] {
            let devices: Devices = text.parse().expect(text);
            assert_eq!(devices.to_string(), text);
        }
        assert_eq!(Devices::default().to_string(), "auto");
        wrong::<Devices>(&[("", "not a list"), ("RPC0,none", "not a list")]);
    }

    #[test]
    fn shares_are_numbers_of_which_one_is_not_zero() {
        let split: TensorSplit = "3,1".parse().expect("two");
        assert_eq!(split.shares().collect::<Vec<_>>(), [3.0, 1.0]);
        assert_eq!(
            "0.5/0.5".parse::<TensorSplit>().expect("two").to_string(),
            "0.5,0.5"
        );
        assert!(TensorSplit::default().is_auto());
        wrong::<TensorSplit>(&[
            ("", "not a share"),
            ("3,x", "'x' is not a share"),
            ("-1,2", "not a share"),
            ("NaN", "not a share"),
            ("inf", "not a share"),
            ("0,0", "no device a share"),
        ]);
    }

    #[test]
    fn records_have_the_typed_form() {
        let split: TensorSplit = "3,1".parse().expect("two");
        let json = serde_json::to_string(&split).expect("JSON");
        assert_eq!(json, "\"3,1\"");
        assert_eq!(
            serde_json::from_str::<TensorSplit>(&json).expect("back"),
            split
        );
        assert!(serde_json::from_str::<TensorSplit>("\"x\"").is_err());
    }
}
