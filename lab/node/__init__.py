"""The lab's node agent: what kubelet does for a cluster's nodes, small enough to read in one sitting.

One process serves every node of a lab. It registers the nodes, keeps their leases, and runs the pods the scheduler
places on them as runc containers on bind mounts of this machine's own files.
"""
