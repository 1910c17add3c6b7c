package network

// TLS, SSH and QUIC are what was said in a connection.
type (
	TLS  struct{ Header }
	SSH  struct{ Header }
	QUIC struct{ Header }
)
