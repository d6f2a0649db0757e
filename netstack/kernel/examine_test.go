package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExamine(t *testing.T) {
	inNamespace(t)
	device(t, "kt7-a")
	if err := writeSysctl("net/ipv6/conf/kt7-a/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	type key struct {
		subject Subject
		name    string
	}
	got := make(map[key]Finding)
	for _, f := range Examine([]string{"kt7-a", "kt7-none"}) {
		got[key{f.Subject, f.Interface}] = f
	}
	for k, want := range map[key]State{
		{NetAdmin, ""}:          Present,
		{NetRaw, ""}:            Present,
		{IPv6, ""}:              Present,
		{IPv6, "kt7-a"}:         Present,
		{WritableSysctls, ""}:   Present,
		{RouteSelectors, ""}:    Present,
		{Forwarding, ""}:        Absent,
		{Forwarding, "kt7-a"}:   Present,
		{Interface, "kt7-a"}:    Present,
		{Interface, "kt7-none"}: Absent,
	} {
		f, ok := got[k]
		if !ok || f.State != want {
			t.Errorf("%v: %+v, want %s", k, f, want)
		}
	}
	for _, k := range []key{{TUNDevice, ""}, {Clock, ""}} {
		f, ok := got[k]
		if !ok || f.State != Present && f.Err == nil {
			t.Errorf("%v: %+v, want a cause", k, f)
		}
	}
	if _, ok := got[key{IPv6, "kt7-none"}]; ok {
		t.Error("looked for IPv6 on an interface that does not exist")
	}
}

func TestExamineWithoutCapabilities(t *testing.T) {
	inNamespace(t) // locks the thread whose capabilities are taken away
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before, none [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	none = before
	none[0].Effective, none[1].Effective = 0, 0
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	admin, raw, sysctls, selectors := ExamineNetAdmin(), ExamineNetRaw(), ExamineSysctls(), ExamineRouteSelectors()
	if err := unix.Capset(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	if admin.State != Denied || raw.State != Denied {
		t.Errorf("%+v, %+v, want denied", admin, raw)
	}
	if selectors.State != Denied || selectors.Err == nil {
		t.Errorf("%+v, want denied", selectors)
	}
	if sysctls.State != Present && sysctls.State != Denied {
		t.Errorf("%+v", sysctls)
	}
}

func TestStateOfErrors(t *testing.T) {
	for err, want := range map[error]State{
		os.ErrNotExist: Absent, unix.ENOENT: Absent, unix.EROFS: ReadOnly, unix.EACCES: Denied, unix.EPERM: Denied,
		unix.ENXIO: Absent, ErrNoLink: Absent, ErrNoSelectors: Absent, unix.EIO: Unknown,
	} {
		if got := stateOf(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestSysctlErrors(t *testing.T) {
	readOnly := &SysctlError{Path: "net/ipv6/conf/eth0.5/forwarding", Value: "1", ReadOnly: true, Err: unix.EROFS}
	if got, want := readOnly.Remedy(), "start the container with --sysctl net.ipv6.conf.eth0/5.forwarding=1, or mount /proc/sys writable"; got != want {
		t.Errorf("remedy %q, want %q", got, want)
	}
	if got, want := readOnly.Error(), "cannot set net/ipv6/conf/eth0.5/forwarding to 1: /proc/sys is read-only"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	denied := &SysctlError{Path: "net/ipv6/conf/all/forwarding", Value: "1", Err: unix.EACCES}
	if got, want := denied.Remedy(), "run as root: sysctl -w net.ipv6.conf.all.forwarding=1"; got != want {
		t.Errorf("remedy %q, want %q", got, want)
	}
	var sysctl *SysctlError
	if _, err := openJournal(t).SetSysctl("net/ipv6/conf/kt7-none/forwarding", "1"); !errors.As(err, &sysctl) || !errors.Is(err, os.ErrNotExist) || sysctl.ReadOnly {
		t.Errorf("a sysctl that does not exist: %v", err)
	}
	if _, err := ReadSysctl("../../etc/hostname"); err == nil {
		t.Error("read a file outside /proc/sys")
	}
}

func TestReadOnlySysctls(t *testing.T) {
	j := openJournal(t)
	var skip, err error
	var finding Finding
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for good: the thread cannot leave the mount namespace, and ends with the goroutine
		if skip = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET); skip != nil {
			return
		}
		for _, mount := range []struct {
			source, target string
			flags          uintptr
		}{
			{"none", "/", unix.MS_REC | unix.MS_PRIVATE},
			{"/proc/sys", "/proc/sys", unix.MS_BIND},
			{"none", "/proc/sys", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
		} {
			if skip = unix.Mount(mount.source, mount.target, "", mount.flags, ""); skip != nil {
				return
			}
		}
		_, err = j.SetSysctl("net/ipv6/conf/all/forwarding", "1")
		finding = ExamineSysctls()
	}()
	<-ended
	if skip != nil {
		t.Skipf("needs the right to mount in a namespace of its own: %v", skip)
	}
	var sysctl *SysctlError
	if !errors.As(err, &sysctl) || !sysctl.ReadOnly {
		t.Errorf("%v, want a read-only SysctlError", err)
	}
	if finding.State != ReadOnly {
		t.Errorf("%+v, want read-only", finding)
	}
	if pending := j.Pending(); len(pending) != 0 {
		t.Errorf("in the journal: %q", pending)
	}
}

func FuzzJournal(f *testing.F) {
	first, err := identity()
	if err != nil {
		f.Skip(err)
	}
	head := fmt.Sprintf("{\"boot\":%q,\"namespace\":%d}\n", first.Boot, first.Namespace)
	f.Add([]byte(`{"change":1,"sysctl":{"path":"a","original":"0","value":"1"}}` + "\n" + `{"undone":1}` + "\n"))
	f.Add([]byte(`{"change":2,"address":{"interface":"a","address":"::1"}}` + "\n" + `{"change":3,"link":{"interface":"a","up":true}}` + "\n"))
	f.Add([]byte(`{"change":4,"route":{"table":1,"prefix":"::/0"}}` + "\n" + `{"change":5,"rule":{"priority":1,"table":2,"from":"::/0"}}` + "\n" + `{`))
	f.Add([]byte(`{"change":6,"address":{"interface":"a","address":"::1","deprecated":true}}` + "\n" + `{"change":7,"rule":{"priority":1,"goto":2,"interface":"lo","protocol":6,` +
		`"source_ports":{"first":1,"last":2},"destination_ports":{"first":1,"last":2},"users":{"first":1,"last":2},"dscp":46}}` + "\n"))
	path := filepath.Join(f.TempDir(), "journal")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, append([]byte(head), content...), 0o600); err != nil {
			t.Fatal(err)
		}
		// load, not Open: nothing read here may be undone, and the disk need not be waited for.
		j := &Journal{path: path, next: 1}
		if err := j.load(); err != nil {
			t.Fatal(err)
		}
		for _, text := range j.Pending() {
			if text == "" {
				t.Error("a change without a description")
			}
		}
	})
}
