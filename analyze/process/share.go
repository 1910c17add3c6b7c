package process

import "reflect"

// share lets a process keep the details of its earlier record where they are
// the same, so that a long recording costs what changed and not what exists.
func (p *Process) share(old *Process) {
	same(&p.Args, old.Args)
	same(&p.Env, old.Env)
	same(&p.NSPID, old.NSPID)
	same(&p.Sockets, old.Sockets)
	same(&p.Files, old.Files)
	same(&p.Views, old.Views)
	same(&p.ThreadList, old.ThreadList)
	same(&p.Maps, old.Maps)
	same(&p.Evidence, old.Evidence)
	same(&p.Incomplete, old.Incomplete)
	if p.Credentials != nil && old.Credentials != nil && reflect.DeepEqual(p.Credentials, old.Credentials) {
		p.Credentials = old.Credentials
	}
	if p.ExeFile != nil && old.ExeFile != nil && *p.ExeFile == *old.ExeFile {
		p.ExeFile = old.ExeFile
	}
}

func same[T any](now *[]T, old []T) {
	if len(*now) == len(old) && len(old) > 0 && reflect.DeepEqual(*now, old) {
		*now = old
	}
}
