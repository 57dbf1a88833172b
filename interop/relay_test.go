package interop

const relayEnv = "POSTA_INTEROP_RELAY"

func relayMain() int { return 0 }
