// Package custody writes what was made of which tape by which program: a manifest
// with the hash of every output, and the same as a CASE/UCO graph
// (caseontology.org, CASE 1.3) for tools that keep a chain of custody.
//
// Neither has the time or the place of the analysis in it: the same tape and the
// same version give the same bytes. When and by whom it was run is for the case
// file of whoever ran it.
package custody

import (
	"encoding/json"
	"io"
	"sort"
)

// Manifest is manifest.json.
type Manifest struct {
	Program  string   `json:"program"`
	Version  string   `json:"version"`
	Tape     Tape     `json:"tape"`
	Complete bool     `json:"complete"` // everything could be looked at
	Problems []string `json:"problems"` // what could not
	Outputs  []Output `json:"outputs"`
}

// Tape is what was analyzed.
type Tape struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Root   string `json:"root,omitempty"` // of the tape's Merkle log
	Signer string `json:"signer,omitempty"`
	Sealed bool   `json:"sealed"`
}

// Output is one file made.
type Output struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// WriteManifest writes the manifest, outputs sorted by name.
func WriteManifest(w io.Writer, m *Manifest) error {
	sort.Slice(m.Outputs, func(i, j int) bool { return m.Outputs[i].Name < m.Outputs[j].Name })
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(m)
}

type node map[string]any

// WriteCASE writes the manifest as CASE/UCO JSON-LD.
func WriteCASE(w io.Writer, m *Manifest) error {
	file := func(id, name string, size int64, sum string) node {
		return node{"@id": "kb:" + id, "@type": "uco-observable:File", "uco-core:hasFacet": []node{
			{"@id": "kb:" + id + "-file", "@type": "uco-observable:FileFacet", "uco-observable:fileName": name, "uco-observable:sizeInBytes": size},
			{"@id": "kb:" + id + "-content", "@type": "uco-observable:ContentDataFacet", "uco-observable:hash": []node{
				{"@id": "kb:" + id + "-sha256", "@type": "uco-types:Hash", "uco-types:hashMethod": node{"@type": "uco-vocabulary:HashNameVocab", "@value": "SHA256"},
					"uco-types:hashValue": node{"@type": "xsd:hexBinary", "@value": sum}}}},
		}}
	}
	graph := []node{
		file("tape", m.Tape.Name, m.Tape.Size, m.Tape.SHA256),
		{"@id": "kb:tool", "@type": "uco-tool:AnalyticTool", "uco-core:name": m.Program, "uco-tool:version": m.Version},
	}
	var results []node
	for _, o := range m.Outputs {
		id := "output-" + o.Name
		graph = append(graph, file(id, o.Name, o.Size, o.SHA256))
		results = append(results, node{"@id": "kb:" + id})
	}
	graph = append(graph,
		node{"@id": "kb:analysis", "@type": "case-investigation:InvestigativeAction", "uco-core:name": "analysis of a tape",
			"uco-core:description":  []string{"tape " + m.Tape.ID + ", tree root " + m.Tape.Root},
			"uco-action:instrument": []node{{"@id": "kb:tool"}}, "uco-action:object": []node{{"@id": "kb:tape"}}, "uco-action:result": results},
		node{"@id": "kb:provenance", "@type": "case-investigation:ProvenanceRecord", "uco-core:description": []string{"outputs of the analysis"}, "uco-core:object": results})
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(node{"@context": node{
		"kb":                 "urn:uuid:" + m.Tape.ID + "#",
		"case-investigation": "https://ontology.caseontology.org/case/investigation/",
		"uco-action":         "https://ontology.unifiedcyberontology.org/uco/action/",
		"uco-core":           "https://ontology.unifiedcyberontology.org/uco/core/",
		"uco-observable":     "https://ontology.unifiedcyberontology.org/uco/observable/",
		"uco-tool":           "https://ontology.unifiedcyberontology.org/uco/tool/",
		"uco-types":          "https://ontology.unifiedcyberontology.org/uco/types/",
		"uco-vocabulary":     "https://ontology.unifiedcyberontology.org/uco/vocabulary/",
		"xsd":                "http://www.w3.org/2001/XMLSchema#",
	}, "@graph": graph})
}
