"""P3-VC: privacy-preserving persistent volume claims, a differentially private release of an image dataset.

The tool reads a raw dataset, charges a ledger that lies beside it, and writes a private copy that a federated-learning
client may read as often as it likes. ``p3vc --help`` lists the commands; each module names its concern.
"""
