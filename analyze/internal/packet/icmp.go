package packet

// ICMPCounterpart returns the "destination port" of an ICMP message in flow
// terms: the type that answers typ, or, where no answer exists, code with
// oneWay set (Zeek's and community-id's convention).
func ICMPCounterpart(typ, code uint8, v6 bool) (port uint8, oneWay bool) {
	pairs := icmp4Pairs[:]
	if v6 {
		pairs = icmp6Pairs[:]
	}
	for _, p := range pairs {
		switch typ {
		case p[0]:
			return p[1], false
		case p[1]:
			return p[0], false
		}
	}
	return code, true
}

// Requests and replies: RFC 792, 950, 1256; RFC 4443, 4861, 2710, 4620, 6275.
var (
	icmp4Pairs = [...][2]uint8{{8, 0}, {13, 14}, {15, 16}, {10, 9}, {17, 18}}
	icmp6Pairs = [...][2]uint8{{128, 129}, {133, 134}, {135, 136}, {130, 131}, {139, 140}, {144, 145}}
)
