package network

import (
	"io"
	"iter"
)

// WriteDNSLog writes dns.log.
func WriteDNSLog(w io.Writer, records iter.Seq[*DNS]) error {
	l := newZeekLog(w, "dns", append(idColumns[:6:6],
		"proto:enum", "trans_id:count", "rtt:interval", "query:string", "qclass:count", "qclass_name:string",
		"qtype:count", "qtype_name:string", "rcode:count", "rcode_name:string", "AA:bool", "TC:bool", "RD:bool",
		"RA:bool", "Z:count", "answers:vector[string]", "TTLs:vector[interval]", "rejected:bool",
		"opcode:count", "opcode_name:string"))
	for d := range records {
		l.id(d.TS, d.UID, &d.ID)
		l.str(d.Proto)
		l.count(uint64(d.TransID))
		l.interval(d.RTT)
		l.strSet(d.Query)
		l.optNumber(d.QClass)
		l.str(d.QClassName)
		l.optNumber(d.QType)
		l.str(d.QTypeName)
		l.optNumber(d.Rcode)
		l.str(d.RcodeName)
		l.bool(d.AA)
		l.bool(d.TC)
		l.bool(d.RD)
		l.bool(d.RA)
		l.count(uint64(d.Z))
		l.set(d.Answers)
		l.intervals(d.TTLs)
		l.bool(d.Rejected)
		l.optNumber(d.Opcode)
		l.str(d.OpcodeName)
		l.end()
	}
	return l.w.Flush()
}

// WriteHTTPLog writes http.log.
func WriteHTTPLog(w io.Writer, records iter.Seq[*HTTP]) error {
	l := newZeekLog(w, "http", append(idColumns[:6:6],
		"trans_depth:count", "method:string", "host:string", "uri:string", "referrer:string", "version:string",
		"user_agent:string", "origin:string", "request_body_len:count", "response_body_len:count",
		"status_code:count", "status_msg:string", "info_code:count", "info_msg:string", "tags:set[enum]",
		"username:string", "password:string", "proxied:set[string]", "orig_fuids:vector[string]",
		"orig_filenames:vector[string]", "orig_mime_types:vector[string]", "resp_fuids:vector[string]",
		"resp_filenames:vector[string]", "resp_mime_types:vector[string]"))
	for h := range records {
		l.id(h.TS, h.UID, &h.ID)
		l.count(h.TransDepth)
		l.str(h.Method)
		l.str(h.Host)
		l.str(h.URI)
		l.str(h.Referrer)
		l.str(h.Version)
		l.str(h.UserAgent)
		l.str(h.Origin)
		l.count(h.RequestBodyLen)
		l.count(h.ResponseBodyLen)
		l.optCount(h.StatusCode)
		l.str(h.StatusMsg)
		l.optCount(h.InfoCode)
		l.str(h.InfoMsg)
		l.set([]string{})
		l.str(h.Username)
		l.unset() // passwords are not repeated in logs
		l.set(h.Proxied)
		l.set(h.OrigFUIDs)
		l.set(h.OrigFilenames)
		l.set(h.OrigMIMETypes)
		l.set(h.RespFUIDs)
		l.set(h.RespFilenames)
		l.set(h.RespMIMETypes)
		l.end()
	}
	return l.w.Flush()
}
