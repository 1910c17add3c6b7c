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
		if h.Method == "" {
			l.unset()
		} else {
			l.strSet(&h.URI)
		}
		l.str(h.Referrer)
		l.str(h.Version)
		l.str(h.UserAgent)
		l.str(h.Origin)
		l.count(h.RequestBodyLen)
		l.count(h.ResponseBodyLen)
		l.optCount(h.StatusCode)
		l.phrase(h.StatusCode, h.StatusMsg)
		l.optCount(h.InfoCode)
		l.phrase(h.InfoCode, h.InfoMsg)
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

// WriteSSLLog writes ssl.log, with the fingerprints as its last fields.
func WriteSSLLog(w io.Writer, records iter.Seq[*TLS]) error {
	l := newZeekLog(w, "ssl", append(idColumns[:6:6],
		"version:string", "cipher:string", "curve:string", "server_name:string", "resumed:bool",
		"last_alert:string", "next_protocol:string", "established:bool", "ssl_history:string",
		"cert_chain_fps:vector[string]", "client_cert_chain_fps:vector[string]", "sni_matches_cert:bool",
		"subject:string", "issuer:string", "client_subject:string", "client_issuer:string", "ja3:string", "ja3s:string", "ja4:string"))
	for r := range records {
		l.id(r.TS, r.UID, &r.ID)
		l.str(r.Version)
		l.str(r.Cipher)
		l.str(r.Curve)
		l.str(r.ServerName)
		l.bool(r.Resumed)
		l.str(r.LastAlert)
		l.str(r.NextProtocol)
		l.bool(r.Established)
		l.strSet(&r.History)
		l.set(r.CertChainFPs)
		l.set(r.ClientCertChainFPs)
		l.optBool(r.SNIMatchesCert)
		l.str(r.Subject)
		l.str(r.Issuer)
		l.str(r.ClientSubject)
		l.str(r.ClientIssuer)
		l.str(r.JA3)
		l.str(r.JA3S)
		l.str(r.JA4)
		l.end()
	}
	return l.w.Flush()
}

// phrase writes the text that belongs to a code; it may be there and empty.
func (l *zeekLog) phrase(code *uint64, s string) {
	if code == nil {
		l.unset()
		return
	}
	l.strSet(&s)
}

func (l *zeekLog) optBool(b *bool) {
	if b == nil {
		l.unset()
		return
	}
	l.bool(*b)
}

// WriteSSHLog writes ssh.log, with HASSH as its last fields.
func WriteSSHLog(w io.Writer, records iter.Seq[*SSH]) error {
	l := newZeekLog(w, "ssh", append(idColumns[:6:6],
		"version:count", "auth_success:bool", "auth_attempts:count", "direction:enum", "client:string",
		"server:string", "cipher_alg:string", "mac_alg:string", "compression_alg:string", "kex_alg:string",
		"host_key_alg:string", "host_key_fingerprint:string", "hassh:string", "hasshServer:string"))
	for r := range records {
		l.id(r.TS, r.UID, &r.ID)
		l.optCount(r.Version)
		l.optBool(r.AuthSuccess)
		l.count(r.AuthAttempts)
		l.str(r.Direction)
		l.str(r.Client)
		l.str(r.Server)
		l.str(r.CipherAlg)
		l.str(r.MACAlg)
		l.str(r.CompressionAlg)
		l.str(r.KexAlg)
		l.str(r.HostKeyAlg)
		l.str(r.HostKeyFingerprint)
		l.str(r.HASSH)
		l.str(r.HASSHServer)
		l.end()
	}
	return l.w.Flush()
}

// WriteQUICLog writes quic.log, with the fingerprint as its last field.
func WriteQUICLog(w io.Writer, records iter.Seq[*QUIC]) error {
	l := newZeekLog(w, "quic", append(idColumns[:6:6],
		"version:string", "client_initial_dcid:string", "client_scid:string", "server_scid:string",
		"server_name:string", "client_protocol:string", "history:string", "ja4:string"))
	for r := range records {
		l.id(r.TS, r.UID, &r.ID)
		l.str(r.Version)
		l.strSet(r.ClientInitialDCID)
		l.strSet(r.ClientSCID)
		l.strSet(r.ServerSCID)
		l.str(r.ServerName)
		l.str(r.ClientProtocol)
		l.str(r.History)
		l.str(r.JA4)
		l.end()
	}
	return l.w.Flush()
}

// WriteFilesLog writes files.log. Where Zeek has names of its analyzers and
// extracted files there is nothing here; sha256 is always computed.
func WriteFilesLog(w io.Writer, records iter.Seq[*File]) error {
	l := newZeekLog(w, "files", []string{
		"ts:time", "fuid:string", "uid:string", "id.orig_h:addr", "id.orig_p:port", "id.resp_h:addr", "id.resp_p:port",
		"source:string", "depth:count", "analyzers:set[string]", "mime_type:string", "filename:string",
		"duration:interval", "local_orig:bool", "is_orig:bool", "seen_bytes:count", "total_bytes:count",
		"missing_bytes:count", "overflow_bytes:count", "timedout:bool", "parent_fuid:string", "md5:string", "sha1:string", "sha256:string",
		"extracted:string", "extracted_cutoff:bool", "extracted_size:count"})
	for f := range records {
		l.time(f.TS)
		l.str(f.FUID)
		l.str(f.UID)
		l.addr(f.OrigH)
		l.count(uint64(f.OrigP))
		l.addr(f.RespH)
		l.count(uint64(f.RespP))
		l.str(f.Source)
		l.count(0)
		l.set([]string{"SHA256"})
		l.str(f.MIMEType)
		l.str(f.Filename)
		l.time(f.Duration)
		l.bool(f.LocalOrig)
		l.bool(f.IsOrig)
		l.count(f.SeenBytes)
		l.optCount(f.TotalBytes)
		l.count(f.MissingBytes)
		l.count(0) // bytes sent again with other content are not kept
		l.bool(false)
		l.unset()
		l.unset() // md5
		l.unset() // sha1
		l.str(f.SHA256)
		l.unset() // nothing is extracted to disk
		l.unset()
		l.unset()
		l.end()
	}
	return l.w.Flush()
}
