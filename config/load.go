package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Defaults of keys that may be left out.
const (
	DefaultStateDirectory = "/var/lib/kedge"
	DefaultSocket         = "/run/kedge/control.sock"
	DefaultTUNName        = "kedge0"
)

// Load reads and checks a configuration file. Relative paths in it count from its own folder. The error is an Errors with
// everything that is wrong, not only the first; it is returned for a missing file too.
func Load(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, Errors{{File: path, Expected: "a readable file", Found: cause(err)}}
	}
	return Parse(path, b)
}

// Parse is Load for a document that has been read; path names it in errors and anchors relative paths.
func Parse(path string, b []byte) (*Config, error) {
	var d document
	decoder := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	r := &reader{file: path, directory: filepath.Dir(path)}
	if err := decoder.Decode(&d); err != nil {
		r.decodeError(err)
		return nil, r.errors
	}
	r.lines = positionsOf(b)
	c := r.config(&d)
	if len(r.errors) > 0 {
		sort.SliceStable(r.errors, func(i, j int) bool { return r.errors[i].Line < r.errors[j].Line })
		return nil, r.errors
	}
	return c, nil
}

// reader turns one document into a Config and collects what is wrong with it.
type reader struct {
	file, directory string
	lines           positions
	errors          Errors
	warnings        []string
}

func (r *reader) wrong(key, expected, found string, args ...any) {
	r.errors = append(r.errors, &Error{
		File: r.file, Line: r.lines.line(key), Key: key, Expected: expected, Found: fmt.Sprintf(found, args...),
	})
}

func (r *reader) warn(key, text string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf("%s:%d: %s: %s", r.file, r.lines.line(key), key, fmt.Sprintf(text, args...)))
}

// decodeError translates the TOML library's errors: syntax, wrong types, unknown keys.
func (r *reader) decodeError(err error) {
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			line, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			r.errors = append(r.errors, &Error{
				File: r.file, Line: line, Key: key, Expected: "a key that kedge knows" + suggestion(e.Key()), Found: "an unknown one",
			})
		}
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		expected, found := "valid TOML", strings.TrimPrefix(wrong.Error(), "toml: ")
		if key := strings.Join(wrong.Key(), "."); key != "" {
			r.errors = append(r.errors, &Error{File: r.file, Line: line, Key: key, Expected: "a value of the right type", Found: found})
			return
		}
		r.errors = append(r.errors, &Error{File: r.file, Line: line, Expected: expected, Found: found})
	default:
		r.errors = append(r.errors, &Error{File: r.file, Expected: "valid TOML", Found: strings.TrimPrefix(err.Error(), "toml: ")})
	}
}

func (r *reader) config(d *document) *Config {
	c := &Config{
		Roles:          r.roles(d),
		StateDirectory: r.path(text(d.StateDirectory, DefaultStateDirectory)),
		Log: Log{
			Level:  r.oneOf("log.level", text(d.Log.Level, "info"), "debug", "info", "warn", "error"),
			Format: r.oneOf("log.format", text(d.Log.Format, "text"), "text", "json"),
		},
		Control: Control{Socket: r.path(text(d.Control.Socket, DefaultSocket))},
	}
	c.TUN = r.tun(d.TUN)
	c.UDP = r.udp(d.UDP, mobileOverUDP(d))
	c.SegmentRouting = d.Accelerate != nil && r.oneOf("accelerate", *d.Accelerate, "seg6") == "seg6"
	c.Links = r.links(d.Link, mobileOverUDP(d))
	c.SecurityAssociations = r.securityAssociations(d.SecurityAssociation)
	if d.MobileNode != nil {
		c.MobileNode = r.mobileNode(d.MobileNode, c)
	}
	if d.HomeAgent != nil {
		c.HomeAgent = r.homeAgent(d.HomeAgent, c)
	}
	if d.HomeProxy != nil {
		c.HomeProxy = r.homeProxy(d.HomeProxy, c)
	}
	if d.CorrespondentNode != nil {
		c.CorrespondentNode = r.correspondentNode(d.CorrespondentNode, c)
	}
	if d.MAAR != nil {
		c.AccessRouter = r.accessRouter(d.MAAR, c)
	}
	if d.Database != nil {
		c.Database = r.database(d.Database, c)
	}
	if d.DMIPv6 != nil {
		c.DMIPv6 = r.dmipv6(d.DMIPv6, c)
	}
	r.combination(d, c)
	c.Warnings = r.warnings
	return c
}

func (r *reader) roles(d *document) []Role {
	known := []string{string(MobileNodeRole), string(HomeAgentRole), string(HomeProxyRole), string(CorrespondentNodeRole), string(AccessRouterRole), string(DatabaseRole)}
	if len(d.Roles) == 0 {
		r.wrong("roles", "at least one of "+strings.Join(known, ", "), "none")
	}
	var roles []Role
	for i, name := range d.Roles {
		key := fmt.Sprintf("roles.%d", i)
		role := Role(r.oneOf(key, name, known...))
		if slices.Contains(roles, role) {
			r.wrong(key, "each role once", "%q again", name)
			continue
		}
		roles = append(roles, role)
	}
	return roles
}

// combination checks that roles, their sections and the links they need go together.
func (r *reader) combination(d *document, c *Config) {
	is := func(role Role) bool { return slices.Contains(c.Roles, role) }
	if len(c.Roles) > 1 && !(len(c.Roles) == 2 && is(AccessRouterRole) && is(DatabaseRole)) {
		r.wrong("roles", "one role, or maar and cmd together", "%d: run a node for each, in a network namespace of its own", len(c.Roles))
	}
	r.section("mobile_node", MobileNodeRole, is(MobileNodeRole), d.MobileNode != nil)
	r.section("home_agent", HomeAgentRole, is(HomeAgentRole), d.HomeAgent != nil)
	r.section("home_proxy", HomeProxyRole, is(HomeProxyRole), d.HomeProxy != nil)
	r.section("maar", AccessRouterRole, is(AccessRouterRole), d.MAAR != nil)
	r.section("central_mobility_database", DatabaseRole, is(DatabaseRole), d.Database != nil)
	r.section("correspondent_node", CorrespondentNodeRole, is(CorrespondentNodeRole), d.CorrespondentNode != nil)
	if (is(MobileNodeRole) || is(CorrespondentNodeRole)) && c.TUN == nil {
		r.wrong("tun", "a [tun] section, by which programs reach the node's address", "none")
	}
	behindHost := c.UDP != nil && c.TUN != nil && (is(HomeAgentRole) || is(HomeProxyRole))
	if len(c.Roles) > 0 && len(c.Links) == 0 && !behindHost {
		r.wrong("link", "at least one [[link]]", "none")
	}
	if c.UDP != nil && d.UDP != nil && !is(MobileNodeRole) && !is(HomeAgentRole) && !is(HomeProxyRole) {
		r.wrong("udp", "a [udp] section only for a mobile node, a home agent or a home proxy", "another role")
	}
	if c.SegmentRouting && !is(MobileNodeRole) && !is(HomeAgentRole) && !is(HomeProxyRole) {
		r.wrong("accelerate", "a mobile node, a home agent or a home proxy", "another role")
	}
	if c.SegmentRouting && c.TUN == nil {
		r.wrong("accelerate", "a [tun] section beside it, whose packets it is for", "none")
	}
}

// mobileOverUDP reports whether a mobile node may use the UDP transport.
func mobileOverUDP(d *document) bool {
	over := func(t *string) bool { return t != nil && Transport(*t) != Native }
	return d.MobileNode != nil && (over(d.MobileNode.Transport) ||
		d.DMIPv6 != nil && (over(d.DMIPv6.Transport) || slices.ContainsFunc(d.DMIPv6.Proxy, func(p documentDMIPv6Proxy) bool { return over(p.Transport) })))
}

func (r *reader) section(name string, role Role, wanted, present bool) {
	switch {
	case wanted && !present:
		r.wrong(name, fmt.Sprintf("a [%s] section, since roles has %q", name, role), "none")
	case present && !wanted:
		r.wrong(name, fmt.Sprintf("%q in roles, since there is a [%s] section", role, name), "roles without it")
	}
}

func (r *reader) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.directory, p)
}

// cause is an error without the operation and path that the message around it already has.
func cause(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
