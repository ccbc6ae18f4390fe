"""Several nodes on one machine: for each of them a real kubelet and a real containerd, in a mount namespace of its own.

What is Kubernetes' own here: pods and their lives, logs, ``exec``, probes, limits, users, volumes. What a node of a
cluster has and these lack: a machine of its own (each shows this one's cores and memory), a GPU behind the one that it
declares, an address (all are reached on loopback), kube-proxy, and images: a container's files are this machine's.
"""
