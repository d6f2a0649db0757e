package config

// document is the TOML file as it is written. Everything that is more than a string, a number or a switch is a string
// here and becomes a domain type in the files beside this one.
type document struct {
	Roles               []string                      `toml:"roles"`
	StateDirectory      *string                       `toml:"state_directory"`
	Log                 documentLog                   `toml:"log"`
	Control             documentControl               `toml:"control"`
	TUN                 *documentTUN                  `toml:"tun"`
	UDP                 *documentUDP                  `toml:"udp"`
	Accelerate          *string                       `toml:"accelerate"`
	Link                []documentLink                `toml:"link"`
	SecurityAssociation []documentSecurityAssociation `toml:"security_association"`
	MobileNode          *documentMobileNode           `toml:"mobile_node"`
	HomeAgent           *documentHomeAgent            `toml:"home_agent"`
	HomeProxy           *documentHomeProxy            `toml:"home_proxy"`
	CorrespondentNode   *documentCorrespondentNode    `toml:"correspondent_node"`
	DMIPv6              *documentDMIPv6               `toml:"dmipv6"`
	MAAR                *documentAccessRouter         `toml:"maar"`
	Database            *documentDatabase             `toml:"central_mobility_database"`
}

type documentLog struct {
	Level  *string `toml:"level"`
	Format *string `toml:"format"`
}

type documentControl struct {
	Socket *string `toml:"socket"`
}

type documentTUN struct {
	Name          *string `toml:"name"`
	MTU           *int64  `toml:"mtu"`
	Offload       *bool   `toml:"offload"`
	OffloadTCP    *bool   `toml:"tcp_segmentation_offload"`
	OffloadUDP    *bool   `toml:"udp_segmentation_offload"`
	ForwardByHost *bool   `toml:"forward_by_host"`
}

type documentUDP struct {
	Listen              *string  `toml:"listen"`
	Advertise           []string `toml:"advertise"`
	SegmentationOffload *bool    `toml:"segmentation_offload"`
	ReceiveOffload      *bool    `toml:"receive_offload"`
	ReceiveBuffer       *int64   `toml:"receive_buffer"`
	NATRefresh          *string  `toml:"nat_refresh"`
}

type documentLink struct {
	Interface         string   `toml:"interface"`
	Autoconfigure     bool     `toml:"autoconfigure"`
	Access            bool     `toml:"access"`
	Addresses         []string `toml:"addresses"`
	Gateway           *string  `toml:"gateway"`
	KeepCareOfAddress bool     `toml:"keep_care_of_address"`
	Preference        int64    `toml:"preference"`
	Offload           *bool    `toml:"offload"`
}

type documentSecurityAssociation struct {
	SPI             int64   `toml:"spi"`
	Algorithm       *string `toml:"algorithm"`
	KeyFile         string  `toml:"key_file"`
	TimestampWindow *string `toml:"timestamp_window"`
}

type documentMobileNode struct {
	HomeAddress          string   `toml:"home_address"`
	HomePrefix           string   `toml:"home_prefix"`
	HomeAgent            *string  `toml:"home_agent"`
	HomeAgentEndpoints   []string `toml:"home_agent_endpoints"`
	Transport            *string  `toml:"transport"`
	Identifier           string   `toml:"identifier"`
	Lifetime             *string  `toml:"lifetime"`
	Destinations         []string `toml:"destinations"`
	SPI                  *int64   `toml:"spi"`
	AllowUnauthenticated bool     `toml:"allow_unauthenticated_signaling"`
	RouteOptimization    bool     `toml:"route_optimization"`
	PlainIPv6            bool     `toml:"plain_ipv6_without_home_agent"`
}

type documentHomeAgent struct {
	Address              string                        `toml:"address"`
	HomePrefixes         []string                      `toml:"home_prefixes"`
	HomeLink             *string                       `toml:"home_link"`
	Preference           int64                         `toml:"preference"`
	MaxLifetime          *string                       `toml:"max_lifetime"`
	KeepBindings         *bool                         `toml:"keep_bindings"`
	PreviousCareOfTime   *string                       `toml:"previous_care_of_time"`
	RefreshAdvice        *string                       `toml:"refresh_advice"`
	MaxBindings          *int64                        `toml:"max_bindings"`
	MaxBindingsPerNode   *int64                        `toml:"max_bindings_per_mobile_node"`
	MobileNode           []documentHomeAgentMobileNode `toml:"mobile_node"`
	Proxy                []documentHomeAgentProxy      `toml:"proxy"`
	TicketLifetime       *string                       `toml:"ticket_lifetime"`
	AllowAnyMobileNode   bool                          `toml:"allow_any_mobile_node"`
	AllowUnauthenticated bool                          `toml:"allow_unauthenticated_signaling"`
}

type documentHomeAgentMobileNode struct {
	Identifier           string   `toml:"identifier"`
	HomeAddress          string   `toml:"home_address"`
	MobileNetworks       []string `toml:"mobile_networks"`
	SPI                  *int64   `toml:"spi"`
	AllowUnauthenticated bool     `toml:"allow_unauthenticated_signaling"`
}

type documentHomeAgentProxy struct {
	Address   string   `toml:"address"`
	Endpoints []string `toml:"endpoints"`
	SPI       int64    `toml:"spi"`
	Coverage  []string `toml:"coverage"`
}

type documentHomeProxy struct {
	Address               string                        `toml:"address"`
	Pools                 []documentPool                `toml:"pools"`
	Coverage              []documentCoverage            `toml:"coverage"`
	HomeAgents            []documentHomeProxyHomeAgent  `toml:"home_agents"`
	Preference            int64                         `toml:"preference"`
	MaxLifetime           *string                       `toml:"max_lifetime"`
	Quarantine            *string                       `toml:"quarantine"`
	AdvertisementInterval *string                       `toml:"advertisement_interval"`
	KeepBindings          *bool                         `toml:"keep_bindings"`
	PreviousCareOfTime    *string                       `toml:"previous_care_of_time"`
	MaxBindings           *int64                        `toml:"max_bindings"`
	MaxBindingsPerNode    *int64                        `toml:"max_bindings_per_mobile_node"`
	MobileNode            []documentHomeAgentMobileNode `toml:"mobile_node"`
	Anycast               bool                          `toml:"anycast"`
}

type documentPool struct {
	Prefix string `toml:"prefix"`
	Lend   *int64 `toml:"lend"`
}

type documentCoverage struct {
	Prefix string  `toml:"prefix"`
	Probe  *string `toml:"probe"`
}

type documentHomeProxyHomeAgent struct {
	Address string `toml:"address"`
	SPI     int64  `toml:"spi"`
}

type documentCorrespondentNode struct {
	Address     string `toml:"address"`
	Link        string `toml:"link"`
	MaxBindings *int64 `toml:"max_bindings"`
}

type documentDMIPv6 struct {
	Enabled      bool                  `toml:"enabled"`
	Transport    *string               `toml:"transport"`
	UseHomeAgent *bool                 `toml:"use_home_agent"`
	Anycast      bool                  `toml:"anycast"`
	SourceHints  *bool                 `toml:"source_hints"`
	Lifetime     *string               `toml:"lifetime"`
	HoldTime     *string               `toml:"hold_time"`
	IdleTime     *string               `toml:"idle_time"`
	GracefulTime *string               `toml:"graceful_time"`
	Heartbeat    *string               `toml:"heartbeat_interval"`
	MaxFlows     *int64                `toml:"max_flows"`
	MaxAnchors   *int64                `toml:"max_anchors"`
	DefaultRules *bool                 `toml:"default_rules"`
	Rule         []documentRule        `toml:"rule"`
	Proxy        []documentDMIPv6Proxy `toml:"proxy"`
}

type documentRule struct {
	Name             string   `toml:"name"`
	Class            string   `toml:"class"`
	Destinations     []string `toml:"destinations"`
	Protocols        []string `toml:"protocols"`
	DestinationPorts []string `toml:"destination_ports"`
	SourcePorts      []string `toml:"source_ports"`
	DSCPs            []int64  `toml:"dscps"`
	Users            []string `toml:"users"`
	MaxRoundTrip     *string  `toml:"max_round_trip"`
	MaxLoss          *float64 `toml:"max_loss"`
}

type documentDMIPv6Proxy struct {
	Address    string   `toml:"address"`
	Endpoints  []string `toml:"endpoints"`
	Transport  *string  `toml:"transport"`
	Coverage   []string `toml:"coverage"`
	Preference int64    `toml:"preference"`
}

type documentAccessRouter struct {
	Address             string                       `toml:"address"`
	Database            *string                      `toml:"database"`
	LocalMobilityAnchor *string                      `toml:"local_mobility_anchor"`
	SPI                 *int64                       `toml:"spi"`
	Peers               []documentHomeProxyHomeAgent `toml:"peers"`
	AccessLinks         []string                     `toml:"access_links"`
	Pools               []string                     `toml:"pools"`
	LocalPrefixes       []string                     `toml:"local_prefixes"`
	Ordering            *string                      `toml:"ordering"`
	Lifetime            *string                      `toml:"lifetime"`
	ValidLifetime       *string                      `toml:"valid_lifetime"`
	PreferredLifetime   *string                      `toml:"preferred_lifetime"`
	DeprecatedLifetime  *string                      `toml:"deprecated_lifetime"`
	RouterLifetime      *string                      `toml:"router_lifetime"`
	PrefixMemory        *string                      `toml:"prefix_memory"`
	Quarantine          *string                      `toml:"quarantine"`
	IdleTimeout         *string                      `toml:"idle_timeout"`
	Deregistration      *string                      `toml:"deregistration"`
	MaxMobileNodes      *int64                       `toml:"max_mobile_nodes"`
	MaxPreviousMAARs    *int64                       `toml:"max_previous_maars"`
	KeepSessions        *bool                        `toml:"keep_sessions"`
	AllowAnyMobileNode  bool                         `toml:"allow_any_mobile_node"`
	MobileNode          []documentAccessMobileNode   `toml:"mobile_node"`
}

type documentAccessMobileNode struct {
	LinkLayer  string  `toml:"link_layer_address"`
	Identifier string  `toml:"identifier"`
	Prefix     *string `toml:"prefix"`
}

type documentDatabase struct {
	Address            string                     `toml:"address"`
	Mode               *string                    `toml:"mode"`
	Router             []documentDatabaseRouter   `toml:"router"`
	Ordering           *string                    `toml:"ordering"`
	MaxLifetime        *string                    `toml:"max_lifetime"`
	AggregationTimeout *string                    `toml:"aggregation_timeout"`
	Pacing             *string                    `toml:"pacing"`
	MaxSessions        *int64                     `toml:"max_sessions"`
	MaxPreviousMAARs   *int64                     `toml:"max_previous_maars"`
	Deregistration     *string                    `toml:"deregistration"`
	KeepSessions       *bool                      `toml:"keep_sessions"`
	ServePlain         bool                       `toml:"serve_plain"`
	HomePrefixes       []string                   `toml:"home_prefixes"`
	MobileNode         []documentAccessMobileNode `toml:"mobile_node"`
	AllowAnyMobileNode bool                       `toml:"allow_any_mobile_node"`
}

type documentDatabaseRouter struct {
	Address string   `toml:"address"`
	SPI     int64    `toml:"spi"`
	Pools   []string `toml:"pools"`
	Plain   bool     `toml:"plain"`
}
