"""What ranking pruners share: the network they score, top-k, the digest of what scores depend on."""
