"""The lab's network: OVN and Open vSwitch, Kube-OVN's own controller, and the plugging of pods and node."""
