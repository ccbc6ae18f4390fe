"""Which pod can send a packet to which, decided from declared resources alone."""
