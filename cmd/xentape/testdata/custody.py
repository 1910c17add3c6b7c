# Reads custody.jsonld as linked data and prints "name size sha256" of each result of
# the analysis, then of the tape it was made of.
import sys
import rdflib
g = rdflib.Graph().parse(sys.argv[1], format="json-ld")
q = """
PREFIX action: <https://ontology.unifiedcyberontology.org/uco/action/>
PREFIX core: <https://ontology.unifiedcyberontology.org/uco/core/>
PREFIX obs: <https://ontology.unifiedcyberontology.org/uco/observable/>
PREFIX types: <https://ontology.unifiedcyberontology.org/uco/types/>
PREFIX inv: <https://ontology.caseontology.org/case/investigation/>
SELECT ?name ?size ?hash WHERE {
  ?a a inv:InvestigativeAction ; action:instrument ?tool ; action:%s ?f .
  ?f a obs:File ; core:hasFacet ?file, ?content .
  ?file a obs:FileFacet ; obs:fileName ?name ; obs:sizeInBytes ?size .
  ?content a obs:ContentDataFacet ; obs:hash ?h .
  ?h types:hashMethod ?m ; types:hashValue ?hash .
  FILTER(STR(?m) = "SHA256")
} ORDER BY ?name"""
for what in ("result", "object"):
    for name, size, digest in g.query(q % what):
        print(what, name, int(size), digest)
