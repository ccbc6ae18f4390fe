"""The lab's network: Kube-OVN's resources as a real OVN northbound database over Open vSwitch's userspace datapath."""
