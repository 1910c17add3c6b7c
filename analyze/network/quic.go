package network

// QUIC is a QUIC connection.
type QUIC struct{ Header }
