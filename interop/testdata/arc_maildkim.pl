# Seals and verifies chains with Mail::DKIM: a request and an answer in JSON on
# each line.
use strict;
use warnings;
use JSON::PP;
use MIME::Base64;
use Mail::DKIM::ARC::Signer;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::TextWrap;
use Net::DNS;

my %keys;
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name) = @_;
        my $text = $keys{ lc $name };
        if ( !defined $text ) { $@ = 'NXDOMAIN'; return; }
        return Net::DNS::RR->new( owner => $name, type => 'TXT', txtdata => [ unpack '(a250)*', $text ] );
    };
}

sub answer {
    my ($q) = @_;
    my $message = decode_base64( $q->{message} );
    %keys = %{ $q->{keys} || {} };
    my $arc;
    if ( $q->{op} eq 'seal' ) {
        ( my $pem = $q->{key} ) =~ s/-----[^-]+-----|\s//g;
        $arc = Mail::DKIM::ARC::Signer->new(
            Algorithm => 'rsa-sha256', Chain => 'ar', Domain => $q->{domain}, SrvId => $q->{servid},
            Selector => $q->{selector}, Key => Mail::DKIM::PrivateKey->load( Data => $pem ),
        );
    }
    else { $arc = Mail::DKIM::ARC::Verifier->new }
    $arc->PRINT($message);
    $arc->CLOSE;
    return { status => $arc->result, reason => $arc->result_detail } if $q->{op} ne 'seal';
    die $arc->{details} if $arc->result ne 'sealed';
    my $fields = $arc->as_string;
    $fields .= "\r\n" if $fields !~ /\r\n\z/;
    return { fields => encode_base64( $fields, '' ) };
}

$| = 1;
while (<STDIN>) {
    my $out = eval { answer( decode_json($_) ) } || { error => "$@" };
    print encode_json($out), "\n";
}
