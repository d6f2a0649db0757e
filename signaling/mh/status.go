package mh

import "fmt"

// Status is the Status field of a Binding Acknowledgement, a Binding Identifier option and a DMIPv6 message: below 128
// accepted, else rejected.
type Status uint8

// The statuses.
const (
	// RFC 6275 section 6.1.8.
	StatusAccepted                         Status = 0
	StatusPrefixDiscoveryNecessary         Status = 1
	StatusUnspecified                      Status = 128
	StatusAdministrativelyProhibited       Status = 129
	StatusInsufficientResources            Status = 130
	StatusHomeRegistrationNotSupported     Status = 131
	StatusNotHomeSubnet                    Status = 132
	StatusNotHomeAgent                     Status = 133
	StatusDuplicateAddress                 Status = 134
	StatusSequenceOutOfWindow              Status = 135
	StatusExpiredHomeNonce                 Status = 136
	StatusExpiredCareOfNonce               Status = 137
	StatusExpiredNonces                    Status = 138
	StatusRegistrationTypeChangeDisallowed Status = 139
	StatusInvalidCareOfAddress             Status = 174

	// RFC 3963 section 4.2.
	StatusMobileRouterNotPermitted Status = 140
	StatusInvalidPrefix            Status = 141
	StatusNotAuthorizedForPrefix   Status = 142
	StatusForwardingSetupFailed    Status = 143

	// RFC 4285 section 8. RFC 5555 section 4.5 also has 144 refuse flag F, which this project never does: where UDP is not
	// served its messages do not arrive.
	StatusIDMismatch            Status = 144
	StatusMessageIDRequired     Status = 145
	StatusAuthenticationFailure Status = 146

	// RFC 5213 section 8.9.
	StatusProxyNotEnabled             Status = 152
	StatusNotLocalMobilityAnchor      Status = 153
	StatusGatewayNotAuthorized        Status = 154
	StatusNotAuthorizedForHomePrefix  Status = 155
	StatusTimestampMismatch           Status = 156
	StatusTimestampLower              Status = 157
	StatusMissingHomeNetworkPrefix    Status = 158
	StatusPrefixSetDoesNotMatch       Status = 159
	StatusMissingMobileNodeIdentifier Status = 160
	StatusMissingHandoffIndicator     Status = 161
	StatusMissingAccessTechnologyType Status = 162

	// RFC 5648 section 4.4.
	StatusMCoANotComplete                       Status = 4
	StatusMCoAReturnHomeWithoutND               Status = 5
	StatusMCoAMalformed                         Status = 164
	StatusMCoANonMCoABindingExists              Status = 165
	StatusMCoAProhibited                        Status = 166
	StatusMCoAUnknownCareOf                     Status = 167
	StatusMCoABulkRegistrationProhibited        Status = 168
	StatusMCoASimultaneousHomeForeignProhibited Status = 169

	// This project's own, in DMIPv6 messages and in what a DHP answers to a Binding Update.
	StatusNoDHPKnown    Status = 240
	StatusTicketRefused Status = 241
	StatusPoolExhausted Status = 242
)

var statusWords = map[Status]string{
	StatusAccepted:                         "Binding Update accepted",
	StatusPrefixDiscoveryNecessary:         "Accepted but prefix discovery necessary",
	StatusUnspecified:                      "Reason unspecified",
	StatusAdministrativelyProhibited:       "Administratively prohibited",
	StatusInsufficientResources:            "Insufficient resources",
	StatusHomeRegistrationNotSupported:     "Home registration not supported",
	StatusNotHomeSubnet:                    "Not home subnet",
	StatusNotHomeAgent:                     "Not home agent for this mobile node",
	StatusDuplicateAddress:                 "Duplicate Address Detection failed",
	StatusSequenceOutOfWindow:              "Sequence number out of window",
	StatusExpiredHomeNonce:                 "Expired home nonce index",
	StatusExpiredCareOfNonce:               "Expired care-of nonce index",
	StatusExpiredNonces:                    "Expired nonces",
	StatusRegistrationTypeChangeDisallowed: "Registration type change disallowed",
	StatusInvalidCareOfAddress:             "Invalid Care-of Address",

	StatusMobileRouterNotPermitted: "Mobile Router Operation not permitted",
	StatusInvalidPrefix:            "Invalid Prefix",
	StatusNotAuthorizedForPrefix:   "Not Authorized for Prefix",
	StatusForwardingSetupFailed:    "Forwarding Setup failed (prefixes missing)",

	StatusIDMismatch:            "MIPV6-ID-MISMATCH",
	StatusMessageIDRequired:     "MIPV6-MESG-ID-REQD",
	StatusAuthenticationFailure: "MIPV6-AUTH-FAIL",

	StatusProxyNotEnabled:             "PROXY_REG_NOT_ENABLED",
	StatusNotLocalMobilityAnchor:      "NOT_LMA_FOR_THIS_MOBILE_NODE",
	StatusGatewayNotAuthorized:        "MAG_NOT_AUTHORIZED_FOR_PROXY_REG",
	StatusNotAuthorizedForHomePrefix:  "NOT_AUTHORIZED_FOR_HOME_NETWORK_PREFIX",
	StatusTimestampMismatch:           "TIMESTAMP_MISMATCH",
	StatusTimestampLower:              "TIMESTAMP_LOWER_THAN_PREV_ACCEPTED",
	StatusMissingHomeNetworkPrefix:    "MISSING_HOME_NETWORK_PREFIX_OPTION",
	StatusPrefixSetDoesNotMatch:       "BCE_PBU_PREFIX_SET_DO_NOT_MATCH",
	StatusMissingMobileNodeIdentifier: "MISSING_MN_IDENTIFIER_OPTION",
	StatusMissingHandoffIndicator:     "MISSING_HANDOFF_INDICATOR_OPTION",
	StatusMissingAccessTechnologyType: "MISSING_ACCESS_TECH_TYPE_OPTION",

	StatusMCoANotComplete:                       "MCOA NOTCOMPLETE",
	StatusMCoAReturnHomeWithoutND:               "MCOA RETURNHOME WO/NDP",
	StatusMCoAMalformed:                         "MCOA MALFORMED",
	StatusMCoANonMCoABindingExists:              "MCOA NON-MCOA BINDING EXISTS",
	StatusMCoAProhibited:                        "MCOA PROHIBITED",
	StatusMCoAUnknownCareOf:                     "MCOA UNKNOWN COA",
	StatusMCoABulkRegistrationProhibited:        "MCOA BULK REGISTRATION PROHIBITED",
	StatusMCoASimultaneousHomeForeignProhibited: "MCOA SIMULTANEOUS HOME AND FOREIGN PROHIBITED",

	StatusNoDHPKnown:    "No DHP known",
	StatusTicketRefused: "Ticket refused",
	StatusPoolExhausted: "Pool exhausted",
}

// Accepted reports whether the binding update was accepted.
func (s Status) Accepted() bool { return s < 128 }

// String is the RFC's wording, where there is one.
func (s Status) String() string {
	if w, ok := statusWords[s]; ok {
		return w
	}
	return fmt.Sprintf("status %d", uint8(s))
}
