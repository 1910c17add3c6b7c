package story

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/network"
)

// How much a zone's names must say before they are taken for a way out: names asked
// once each, as a cache would make of anything else, and so long that they are not
// for people. Names made of hashes, of block lists and content networks, are shorter
// or fewer.
const (
	tunnelNames  = 16   // different names below one zone
	tunnelMean   = 40   // bytes of each below the zone
	tunnelBytes  = 1024 // and of all
	maxZoneNames = 4096 // counted of a zone
)

// zone is what one host asked below one domain.
type zone struct {
	client  netip.Addr
	domain  string
	names   map[string]bool
	bytes   int
	first   *network.DNS
	records []uint64
	stream  string
	at      int64
}

// joinNames finds zones into whose names something was written: each question
// carries as much as fits a name to whoever serves the zone.
func (j *joiner) joinNames() {
	type key struct {
		client netip.Addr
		domain string
	}
	zones := map[key]*zone{}
	var order []*zone
	for _, c := range j.in.Conns {
		for _, q := range c.DNS {
			if q.Query == nil {
				continue
			}
			below, domain := split(strings.ToLower(*q.Query))
			if below == "" {
				continue
			}
			k := key{c.OrigH, domain}
			z := zones[k]
			if z == nil {
				z = &zone{client: c.OrigH, domain: domain, names: map[string]bool{}, first: q, stream: c.Stream, at: int64(q.TS)}
				zones[k] = z
				order = append(order, z)
			}
			if z.names[below] || len(z.names) == maxZoneNames {
				continue
			}
			z.names[below] = true
			z.bytes += len(below)
			if len(z.records) < maxCarried {
				z.records = append(z.records, q.FirstRecord)
			}
		}
	}
	for _, z := range order {
		if len(z.names) < tunnelNames || z.bytes < tunnelBytes || z.bytes < tunnelMean*len(z.names) {
			continue
		}
		what := fmt.Sprintf("%d names below %s, asked by %s, %d bytes", len(z.names), z.domain, z.client, z.bytes)
		if len(z.names) == maxZoneNames {
			what = "more than " + what
		}
		slices.Sort(z.records)
		j.oddities = append(j.oddities, Oddity{Rule: "data-in-dns-names", Severity: "medium", At: z.at, File: -1, Summary: what, Detail: *z.first.Query,
			Fields:   map[string]any{"domain": z.domain, "names": int64(len(z.names)), "bytes": int64(z.bytes)},
			Evidence: []Evidence{{Stream: z.stream, Records: slices.Compact(z.records), Detail: "the first of them asks for " + *z.first.Query}}})
	}
}

// split cuts a name before its last two labels: the zone that someone registered, as
// near as that is told without a list of what registries sell. Names that ask for an
// address's owner are none.
func split(name string) (below, domain string) {
	name = strings.TrimSuffix(name, ".")
	if strings.HasSuffix(name, ".arpa") {
		return "", ""
	}
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return "", ""
	}
	at = strings.LastIndexByte(name[:at], '.')
	if at < 0 {
		return "", ""
	}
	return name[:at], name[at+1:]
}
