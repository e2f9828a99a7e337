"""From inventory and schemas to a rendered tree; never touches the machine it describes."""
