"""What stands behind the docker command on a host without a gateway: reads a line, decides, writes it anew."""
